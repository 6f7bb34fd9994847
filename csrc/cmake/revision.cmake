# Sets <out> to the git revision of this source tree, with "-dirty" when tracked files differ from
# it, or to "unknown". A tree that merely lies inside another repository does not take that one's
# revision.
function(mri2pet_revision out)
  set(source "${CMAKE_CURRENT_SOURCE_DIR}")
  set(revision "unknown")
  if(EXISTS "${source}/REVISION")
    file(STRINGS "${source}/REVISION" revision LIMIT_COUNT 1)
  endif()
  find_program(GIT_EXECUTABLE git)
  if(GIT_EXECUTABLE AND EXISTS "${source}/.git")
    execute_process(
      COMMAND "${GIT_EXECUTABLE}" -C "${source}" describe --always --abbrev=40 --exclude=* --dirty
      OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE
      RESULT_VARIABLE failed ERROR_QUIET)
    if(NOT failed)
      set(revision "${described}")
    endif()
  endif()
  set(${out} "${revision}" PARENT_SCOPE)
endfunction()

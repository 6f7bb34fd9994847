#!/usr/bin/env bash
# Carries out the Dockerfile without Docker: in fresh Debian trees, line by line, and then runs its
# entry point on a simulated dataset as a container would run it.
#
#   tools/try_container.sh [--apt-sources FILE] [--pip-conf FILE] [--bind PATH]…
#                          [--build-arg NAME=VALUE]… [--work DIR] [--keep]
#
# --apt-sources  where Debian's packages come from (*.sources or *.list); default: Debian
# --pip-conf     /etc/pip.conf of the trees while they are built
# --bind         a folder or file of this machine that a build sees at the same path, read-only:
#                what pip.conf names, such as certificates or wheels
# --work         an empty or new folder for the trees, 5 GB; default: a temporary one
# --keep         leave the trees there
#
# Needs root, mmdebstrap, unshare and python3. Nothing of this machine is changed: what is mounted
# is mounted in namespaces of its own. The end says what was tried and what was not.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
recipe=$repository/Dockerfile

fail() { echo "try_container: $*" >&2; exit 2; }

work='' keep='' apt_sources='' pip_conf='' binds=() arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=yes; shift; continue ;;
    --apt-sources | --pip-conf | --bind | --build-arg | --work) ;;
    *) fail "$1 is no option; see the head of $0" ;;
  esac
  [ $# -gt 1 ] || fail "$1 needs a value"
  case $1 in
    --apt-sources) apt_sources=$(realpath -e "$2") ;;
    --pip-conf) pip_conf=$(realpath -e "$2") ;;
    --bind) binds+=("$(realpath -es "$2")") ;;
    --build-arg) arguments+=("$2") ;;
    --work) work=$(realpath "$2") ;;
  esac
  shift 2
done
[ "$(id -u)" = 0 ] || fail "needs root, to change into another tree"
for program in mmdebstrap unshare chroot python3; do
  command -v "$program" >/dev/null || fail "$program is not installed"
done
calls=$(python3 "$repository/tools/container_recipe.py" "$recipe" "${arguments[@]}")

if [ -z "$work" ]; then work=$(mktemp -d); fi
mkdir -p "$work"
[ -z "$(ls -A "$work")" ] || fail "$work is not empty"
[ -n "$keep" ] || trap 'rm -rf --one-file-system "$work"' EXIT

said() { echo "== $(date +%H:%M:%S) $*"; }

# ---- Building: what the calls of container_recipe.py mean.
tree=''
declare -A trees

stage() { # NAME BASE
  said "stage $1 (from $2)"
  case $2 in debian:12* | debian@*) ;; *) fail "FROM $2: only Debian 12 can be tried" ;; esac
  if [ ! -e "$work/base.tar" ]; then
    mmdebstrap --quiet --mode=root --variant=minbase bookworm "$work/base.tar" $apt_sources
    said "base: Debian $(tar -xOf "$work/base.tar" ./etc/debian_version)"
  fi
  tree=$work/$1
  trees[$1]=$tree
  mkdir "$tree"
  tar -xf "$work/base.tar" -C "$tree"
  for file in resolv.conf hosts; do : >"$tree/etc/$file"; done
}

run() { # DIRECTORY USER COMMAND [NAME=VALUE …]
  local directory=$1 user=$2 command=$3
  shift 3
  said "RUN $(tr -s ' ' <<<"$command" | cut -c -100)"
  mkdir -p "$tree$directory"
  # shellcheck disable=SC2016 # expanded in the namespace
  unshare --mount --pid --fork bash -euc '
    tree=$1 pip_conf=$2 user=$3 directory=$4 command=$5; shift 5
    mount --make-rprivate /
    mount -t proc proc "$tree/proc"
    mount --rbind /dev "$tree/dev"
    show() { # FILE-OR-FOLDER PLACE
      if [ -d "$1" ]; then mkdir -p "$tree$2"; else mkdir -p "$tree${2%/*}"; touch "$tree$2"; fi
      mount --bind "$1" "$tree$2"
      mount -o remount,bind,ro "$tree$2"
    }
    for file in resolv.conf hosts; do show /etc/$file /etc/$file; done
    [ -z "$pip_conf" ] || show "$pip_conf" /etc/pip.conf
    while [ "$1" != -- ]; do show "$1" "$1"; shift; done; shift
    exec chroot --userspec="$user" --groups= "$tree" \
      /usr/bin/env -i HOME=/root DEBIAN_FRONTEND=noninteractive "$@" \
      /bin/sh -c "cd \"\$0\" || exit; $command" "$directory"
  ' run "$tree" "$pip_conf" "$user" "$directory" "$command" "${binds[@]}" -- "$@" \
    >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; fail "this RUN failed"; }
}

# What .dockerignore takes out of the folders that it lets in.
excludes=()
while read -r line; do
  case $line in '' | '#'* | '!'* | '*') ;; *) excludes+=("--exclude=${line#\*\*/}") ;; esac
done <"$repository/.dockerignore"

copy() { # STAGE DIRECTORY SOURCE … TARGET
  local from=$1 directory=$2 target=${!#} source into levels
  said "COPY ${*:3}"
  case $target in /*) ;; *) target=$directory/$target ;; esac
  into=$tree$target
  case $target in */) mkdir -p "$into" ;; *) mkdir -p "$(dirname "$into")" ;; esac
  for source in "${@:3:$#-3}"; do
    if [ -n "$from" ]; then
      cp -a "${trees[$from]}$source" "$into"
      continue
    fi
    grep -qxF "!${source%%/*}" "$repository/.dockerignore" ||
      fail "COPY $source: .dockerignore does not let it in"
    if [ -d "$repository/$source" ]; then # its content
      mkdir -p "$into"
      levels=$(tr / '\n' <<<"$source" | wc -l)
      tar -c -C "$repository" "${excludes[@]}" "$source" |
        tar -x --no-same-owner --strip-components="$levels" -C "$into"
    else
      cp --preserve=mode,timestamps "$repository/$source" "$into"
    fi
  done
}

# ---- Running, as with docker run --read-only --network none --tmpfs /tmp.
contained() { # ro|rw (the dataset) USER COMMAND…; `variables` are the image's
  # shellcheck disable=SC2016
  unshare --mount --net --pid --ipc --uts --fork bash -euc '
    tree=$1 work=$2 mode=$3 user=$4; shift 4
    mount --make-rprivate /
    mount --bind "$tree" "$tree"
    mount -t proc proc "$tree/proc"
    mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
    for node in null zero full random urandom; do
      touch "$tree/dev/$node"; mount --bind /dev/$node "$tree/dev/$node"
    done
    mkdir "$tree/dev/shm"; mount -t tmpfs -o nosuid,nodev,noexec,size=64m tmpfs "$tree/dev/shm"
    mount -t tmpfs -o nosuid,nodev,noexec tmpfs "$tree/tmp"
    mount --bind "$work/data" "$tree/data"; mount -o "remount,bind,$mode" "$tree/data"
    mount --bind "$work/out" "$tree/out"
    mount -o remount,bind,ro "$tree"
    exec chroot --userspec="$user" --groups= "$tree" /usr/bin/env -i HOME=/ "$@"
  ' contained "$tree" "$work" "$1" "$2" "${variables[@]}" "${@:3}"
}

inside='
import os, socket, tempfile
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
able, links = int(status["CapEff"], 16), [name for _, name in socket.if_nameindex()]
print(f"   user {os.getuid()}:{os.getgid()}, capabilities {able}, network {links}, "
      f"temporary files in {tempfile.gettempdir()}")
assert os.getuid() and not able and not os.getgroups() and set(links) <= {"lo"}
for folder in ("/", "/opt/mri2pet", "/data", os.path.expanduser("~")):
    try:
        open(os.path.join(folder, "probe"), "w")
    except OSError as error:
        print(f"   {folder}: {error.strerror}")
    else:
        raise SystemExit(f"{folder} can be written to")
'

start() { # DIRECTORY USER COMMAND [NAME=VALUE …]
  local user=$2 entry begun before
  eval "entry=($3)"
  variables=("${@:4}")
  mkdir "$tree/data" "$tree/out" "$work/data" "$work/out"
  chown "$user" "$work/data" "$work/out"
  said "the image without its layers: $(du -shx "$tree" | cut -f1)"
  said "a dataset: mri2pet phantom"
  contained rw "$user" mri2pet phantom /data --pairs 1 --quiet
  before=$(listing "$work/data")
  said "what the container may do"
  contained ro "$user" python -c "$inside"
  said "${entry[*]} --version: $(contained ro "$user" "${entry[@]}" --version)"
  begun=$SECONDS
  said "${entry[*]} /data /out participant"
  contained ro "$user" "${entry[@]}" /data /out participant --samples 1 --steps 2 --nprocs 1
  said "done in $((SECONDS - begun)) s"
  contained ro "$user" "${entry[@]}" /data /out group
  [ "$before" = "$(listing "$work/data")" ] || fail "the dataset has changed"
  [ -z "$(find "$work/out" ! -user "${user%:*}")" ] || fail "results of another user"
  (cd "$work/out" && find . -type f -printf '   %s %P\n' | sort -k 2)
  for ending in synthetic_pet.nii.gz synthetic_report.html group.html dataset_description.json; do
    [ -n "$(find "$work/out" -name "*$ending" -size +0)" ] || fail "no $ending"
  done
}

listing() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }

eval "$calls"

cat <<'EOF'
Tried: every instruction of Dockerfile in fresh Debian trees; its entry point as its user, with a
read-only root and dataset, /tmp in memory, no network, no capability, and no home.
Not tried: Docker itself (its build, layers, seccomp profile and limits), the base image by its tag
(the tree is made of Debian's packages of the same release), Apptainer, and Dockerfile.cuda.
EOF
for given in "${arguments[@]}"; do echo "Not tried: the recipe's own value of ${given%%=*}"; done

// SHA-256 (FIPS 180-4) of a string of bytes, in hexadecimal.
#pragma once

#include <string>

namespace mri2pet::example {

std::string sha256(const std::string& bytes);

}  // namespace mri2pet::example

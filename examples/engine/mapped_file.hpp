// SPDX-License-Identifier: Apache-2.0
/// A file mapped into memory, read only: pages are read when they are first looked at.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include <tightkv/core/error.hpp>

namespace engine {

///     auto const mapped = engine::mapped_file{"model.gguf"};
///     auto const file = tightkv::gguf::file{mapped.bytes()};
class mapped_file {
 public:
  explicit mapped_file(std::string const& path) {
    int const descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) tightkv::detail::refuse("mapped_file", "the file cannot be opened", {{"path", path}});
    struct stat status {};
    bool const regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0;
    void* const address =
        regular ? ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0)
                : MAP_FAILED;
    ::close(descriptor);  // the mapping keeps the file
    if (!regular)
      tightkv::detail::refuse("mapped_file", "must be a regular file with something in it", {{"path", path}});
    if (address == MAP_FAILED) tightkv::detail::refuse("mapped_file", "the file cannot be mapped", {{"path", path}});
    bytes_ = {static_cast<std::byte const*>(address), static_cast<std::size_t>(status.st_size)};
  }
  mapped_file(mapped_file&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  mapped_file& operator=(mapped_file&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~mapped_file() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }

  std::span<std::byte const> bytes() const noexcept { return bytes_; }

 private:
  std::span<std::byte const> bytes_;
};

}  // namespace engine

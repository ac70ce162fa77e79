// SPDX-License-Identifier: Apache-2.0
/// Whole files in and out: read into memory aligned for any element, written so that a failure leaves the old file.
#pragma once

#ifdef __linux__
#include <fcntl.h>
#endif

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <tightkv/core/error.hpp>

namespace tightkv {

/// The bytes of one file, aligned to a cache line.
class file_bytes {
 public:
  static constexpr std::size_t alignment = 64;

  explicit file_bytes(std::size_t size)
      : data_(static_cast<std::byte*>(::operator new (size, std::align_val_t{alignment}))), size_(size) {}
  std::span<std::byte const> bytes() const noexcept { return {data_.get(), size_}; }
  std::span<std::byte> bytes() noexcept { return {data_.get(), size_}; }

 private:
  struct free_aligned {
    void operator()(std::byte* p) const noexcept { ::operator delete (p, std::align_val_t{alignment}); }
  };
  std::unique_ptr<std::byte, free_aligned> data_;
  std::size_t size_;
};

namespace detail {

[[noreturn]] inline void refuse_path(char const* who, char const* rule, std::filesystem::path const& path) {
  refuse(who, rule, {{"path", path.string()}});
}

// With what the system says: that the disk is full, for one.
[[noreturn]] inline void refuse_unwritten(char const* rule, std::filesystem::path const& path, int error) {
  refuse("write_file", rule, {{"path", path.string()}, {"error", std::generic_category().message(error)}});
}

struct close_file {
  void operator()(std::FILE* f) const noexcept { std::fclose(f); }
};
using file_handle = std::unique_ptr<std::FILE, close_file>;

using put_bytes = std::function<void(std::span<std::byte const>)>;

using put_bytes_at = std::function<void(std::size_t, std::span<std::byte const>)>;

// A file that is gone again unless it was renamed to where it belongs.
class temporary_file {
 public:
  // Beside the target, since a rename across file systems is not atomic; "x" never opens what somebody else made.
  explicit temporary_file(std::filesystem::path const& target) {
    for (int i = 0; i < 100 && !handle_; ++i) {
      path_ = target;
      path_ += ".part" + std::to_string(i);
      handle_.reset(std::fopen(path_.string().c_str(), "wbx"));
    }
    if (!handle_) refuse_unwritten("the file cannot be created", target, errno);
  }
  temporary_file(temporary_file const&) = delete;
  temporary_file& operator=(temporary_file const&) = delete;
  ~temporary_file() {
    handle_.reset();
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove(path_, ignored);
  }

  bool write(std::span<std::byte const> bytes) {
    return bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), handle_.get()) == bytes.size();
  }
  // For large pieces: no buffer lies between, so that each is one call to the system and keeps its alignment. Blocks
  // that are set aside at once are written a third faster than those that are found page by page.
  bool become(std::size_t size) {
    std::setvbuf(handle_.get(), nullptr, _IONBF, 0);
    std::error_code failed;
    std::filesystem::resize_file(path_, size, failed);
    errno = failed.value();
    if (failed) return false;
#ifdef __linux__
    // Not all file systems can, and one that is full says so again when it is written.
    [[maybe_unused]] int const set_aside = ::fallocate(::fileno(handle_.get()), 0, 0, static_cast<off_t>(size));
#endif
    return true;
  }
  bool write_at(std::size_t offset, std::span<std::byte const> bytes) {
    if (offset > static_cast<std::size_t>(std::numeric_limits<long>::max())) {
      errno = EFBIG;
      return false;
    }
    return std::fseek(handle_.get(), static_cast<long>(offset), SEEK_SET) == 0 && write(bytes);
  }
  bool rename_to(std::filesystem::path const& target) {
    if (std::fclose(handle_.release()) != 0) return false;
    std::error_code failed;
    std::filesystem::rename(path_, target, failed);
    if (!failed) path_.clear();
    errno = failed.value();
    return !failed;
  }

 private:
  std::filesystem::path path_;
  file_handle handle_;
};

// What `fill` writes takes the place of the file at `path`.
template <class Fill>
void replace_file(std::filesystem::path const& path, Fill const& fill) {
  std::error_code failed;
  auto const status = std::filesystem::status(path, failed);
  if (std::filesystem::is_directory(status)) refuse_path("write_file", "the path is a directory", path);
  // Renaming onto a device or a pipe would put a file in its place.
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    refuse_path("write_file", "the path must be a regular file", path);
  }
  // A link stays a link: what it names is replaced.
  auto const target = std::filesystem::is_symlink(std::filesystem::symlink_status(path, failed))
                          ? std::filesystem::weakly_canonical(path, failed)
                          : path;
  temporary_file file(target);
  fill(file);
  if (!file.rename_to(target)) refuse_unwritten("the file cannot be written", path, errno);
}

}  // namespace detail

/// Reads a whole file into memory.
///
///     auto const file = tightkv::read_file("cache.safetensors");
///     auto const cache = tightkv::safetensors::parse(file.bytes());
///
/// Throws `bad_argument` when the path is missing, is no regular file, is empty or cannot be read.
inline file_bytes read_file(std::filesystem::path const& path) {
  std::error_code failed;
  auto const status = std::filesystem::status(path, failed);
  if (status.type() == std::filesystem::file_type::not_found) {
    detail::refuse_path("read_file", "there is no such file", path);
  }
  if (std::filesystem::is_directory(status)) detail::refuse_path("read_file", "the path is a directory", path);
  if (!std::filesystem::is_regular_file(status)) {
    detail::refuse_path("read_file", "the path must be a regular file", path);
  }
  auto const size = std::filesystem::file_size(path, failed);
  if (failed) detail::refuse_path("read_file", "the file cannot be read", path);
  if (size == 0) detail::refuse_path("read_file", "the file is empty", path);
  if (size > std::numeric_limits<std::size_t>::max() / 2) {
    detail::refuse_path("read_file", "the file does not fit into memory", path);
  }

  detail::file_handle const handle{std::fopen(path.string().c_str(), "rb")};
  if (!handle) detail::refuse_path("read_file", "the file cannot be read", path);
  try {
    file_bytes contents(static_cast<std::size_t>(size));
    auto const into = contents.bytes();
    if (std::fread(into.data(), 1, into.size(), handle.get()) != into.size()) {
      detail::refuse_path("read_file", "the file cannot be read whole", path);
    }
    return contents;
  } catch (std::bad_alloc const&) {
    detail::refuse_path("read_file", "the file does not fit into memory", path);
  }
}

/// Writes what `produce` puts, one piece after the other, as the new contents of a file: all of it or nothing.
///
///     tightkv::write_file("out.bin", [&](auto const& put) { put(header); put(data); });
///
/// The bytes go to a temporary file beside `path`, which takes its place at the end: whoever fails half-way, in
/// `produce` too, leaves the old file as it was, and a reader never sees half a file. The pieces may lie in the old
/// file's own mapping. Throws `bad_argument` when `path` exists and is no regular file, or cannot be written.
template <class Produce>
requires std::invocable<Produce&, detail::put_bytes const&>
void write_file(std::filesystem::path const& path, Produce&& produce) {
  detail::replace_file(path, [&](detail::temporary_file& file) {
    detail::put_bytes const put = [&](std::span<std::byte const> piece) {
      if (!file.write(piece)) detail::refuse_unwritten("the file cannot be written whole", path, errno);
    };
    produce(put);
  });
}

/// The same for `size` bytes in large pieces that come in any order: `put(offset, bytes)`, one at a time, from any
/// thread. What no piece covers is zero; none may reach further.
///
///     auto const size = header.size() + data.size();
///     tightkv::write_file_unordered("out.bin", size, [&](auto const& put) {
///       put(header.size(), data);
///       put(0, header);
///     });
template <class Produce>
requires std::invocable<Produce&, detail::put_bytes_at const&>
void write_file_unordered(std::filesystem::path const& path, std::size_t size, Produce&& produce) {
  detail::replace_file(path, [&](detail::temporary_file& file) {
    if (!file.become(size)) detail::refuse_unwritten("the file cannot be written whole", path, errno);
    detail::put_bytes_at const put = [&](std::size_t offset, std::span<std::byte const> piece) {
      detail::expects(offset <= size && piece.size() <= size - offset, "write_file", "a piece lies outside the file",
                      "offset", offset, "size", size);
      if (!file.write_at(offset, piece)) detail::refuse_unwritten("the file cannot be written whole", path, errno);
    };
    produce(put);
  });
}

/// The same for pieces that are there already.
///
///     tightkv::write_file("out.bin", {header, data});
inline void write_file(std::filesystem::path const& path, std::span<std::span<std::byte const> const> pieces) {
  write_file(path, [&](auto const& put) {
    for (auto const piece : pieces) put(piece);
  });
}

inline void write_file(std::filesystem::path const& path, std::initializer_list<std::span<std::byte const>> pieces) {
  write_file(path, std::span(pieces.begin(), pieces.size()));
}

}  // namespace tightkv

// SPDX-License-Identifier: Apache-2.0
/// Writes a GGUF file that is another one with some tensors and metadata changed, wholly or not at all.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <tightkv/interop/file.hpp>
#include <tightkv/interop/gguf.hpp>

namespace tightkv::gguf {

/// What is to be different. An entry or a tensor takes the place of the one with its key or name; new ones follow those
/// of the original. Only `name`, `dimensions`, `shape`, `type` and `data` of a tensor count: the writer finds its
/// offset.
struct changes {
  std::vector<entry> metadata{};
  std::vector<gguf::tensor> tensors{};
};

namespace detail {

/// Numbers and texts, one after the other, as a GGUF file has them.
class byte_sink {
 public:
  template <class N>
  void number(N n) {
    char raw_bytes[sizeof n];
    std::memcpy(raw_bytes, &n, sizeof n);
    bytes_.append(raw_bytes, sizeof n);
  }
  void raw(std::span<std::byte const> more) { bytes_.append(reinterpret_cast<char const*>(more.data()), more.size()); }
  void string(std::string_view text) {
    number(std::uint64_t{text.size()});
    bytes_ += text;
  }
  void value(gguf::value const& v) {
    number(static_cast<std::uint32_t>(v.index()));
    std::visit(
        [this]<class S>(S const& held) {
          if constexpr (std::same_as<S, std::string_view>) {
            string(held);
          } else if constexpr (std::same_as<S, array>) {
            number(static_cast<std::uint32_t>(held.element));
            number(held.size);
            raw(held.bytes);
          } else if constexpr (std::same_as<S, bool>) {
            number(static_cast<std::uint8_t>(held));
          } else {
            number(held);
          }
        },
        v);
  }
  std::span<std::byte const> bytes() const noexcept { return std::as_bytes(std::span(bytes_)); }

 private:
  std::string bytes_;
};

/// The originals, each in the shape it is to have, and then what is new.
template <class Item>
std::vector<Item> changed(std::vector<Item> items, std::vector<Item> const& changes, std::string_view Item::*name) {
  auto const originals = static_cast<std::ptrdiff_t>(items.size());
  for (auto const& change : changes) {
    auto const end = items.begin() + originals;
    auto const same = std::find_if(items.begin(), end, [&](Item const& i) { return i.*name == change.*name; });
    if (same != end) {
      *same = change;
    } else {
      items.push_back(change);
    }
  }
  static_cast<void>(order_by(items, name, "is written twice"));
  return items;
}

/// Bytes of the tensor's shape. Throws where the file could not be read again.
inline std::uint64_t checked_bytes(gguf::tensor const& t) {
  auto const name = printable(t.name);
  auto const block = block_of(t.type);
  expects(!t.name.empty() && t.name.size() <= 64, "gguf::write", "a name must have 1 to 64 characters", "tensor", name);
  expects(1 <= t.dimensions && t.dimensions <= 4, "gguf::write", "a tensor must have 1 to 4 dimensions", "tensor", name,
          "dimensions", t.dimensions);
  expects(t.shape[0] % block.elements == 0, "gguf::write", "rows must be whole blocks", "tensor", name, "row length",
          t.shape[0]);
  std::uint64_t left = t.data.size();  // divided down, since a product could overflow
  bool fits = left % block.bytes == 0;
  left /= block.bytes;
  for (auto const extent : {t.shape[0] / block.elements, t.shape[1], t.shape[2], t.shape[3]}) {
    fits = fits && extent != 0 && left % extent == 0;
    if (fits) left /= extent;
  }
  if (!fits || left != 1) {
    refuse("gguf::write", "the bytes must be as many as shape and type say",
           {{"tensor", name}, {"type", block.name}, {"row length", t.shape[0]}, {"bytes", t.data.size()}});
  }
  return t.data.size();
}

}  // namespace detail

/// Writes `original` with `what` changed to `path`.
///
///     tightkv::gguf::write("merged.gguf", file, {.metadata = {{"llama.attention.head_count_kv", std::uint32_t{1}}},
///                                                .tensors = {new_value_weights}});
///
/// Everything else stays byte for byte, in its order; tensors lie one behind the other on the file's own alignment, as
/// llama.cpp wants them. The bytes go to a temporary file beside `path` that takes its place at the end (see
/// `write_file`). Throws `bad_argument` for a tensor whose bytes do not match its shape, a name or a key given twice, a
/// new alignment, and a path that cannot be written.
inline void write(std::filesystem::path const& path, file const& original, changes const& what) {
  for (auto const& e : what.metadata) {
    detail::expects(e.key != "general.alignment", "gguf::write", "the alignment cannot be changed");
    detail::expects(!e.key.empty(), "gguf::write", "a key must not be empty");
  }
  auto const metadata = detail::changed(original.metadata(), what.metadata, &entry::key);
  auto const tensors = detail::changed(original.tensors(), what.tensors, &tensor::name);
  auto const padding = [&](std::uint64_t size) {
    return static_cast<std::size_t>((original.alignment() - size % original.alignment()) % original.alignment());
  };

  detail::byte_sink header;
  header.raw(std::as_bytes(std::span("GGUF", 4)));  // without the zero
  header.number(original.version());
  header.number(std::uint64_t{tensors.size()});
  header.number(std::uint64_t{metadata.size()});
  for (auto const& e : metadata) {
    header.string(e.key);
    header.value(e.value);
  }
  std::uint64_t offset = 0;
  for (auto const& t : tensors) {
    auto const bytes = detail::checked_bytes(t);
    header.string(t.name);
    header.number(static_cast<std::uint32_t>(t.dimensions));
    for (int d = 0; d < t.dimensions; ++d) header.number(t.shape[static_cast<std::size_t>(d)]);
    header.number(t.type);
    header.number(offset);
    offset += bytes + padding(bytes);
  }

  std::vector<std::byte> const zeros(static_cast<std::size_t>(original.alignment()));
  auto const pad = [&](std::uint64_t size) { return std::span(zeros).first(padding(size)); };
  std::vector<std::span<std::byte const>> pieces{header.bytes(), pad(header.bytes().size())};
  for (auto const& t : tensors) pieces.insert(pieces.end(), {t.data, pad(t.data.size())});
  write_file(path, pieces);
}

}  // namespace tightkv::gguf

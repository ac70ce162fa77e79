// SPDX-License-Identifier: Apache-2.0
/// Makes GGUF files in memory, also wrong ones: every field can be given as it is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tightkv/interop/gguf.hpp>

namespace test {

using tightkv::gguf::tensor_type;
using tightkv::gguf::value_type;

/// Bytes, one number after the other.
class byte_writer {
 public:
  template <class N>
  byte_writer& number(N n) {
    std::byte raw[sizeof n];
    std::memcpy(raw, &n, sizeof n);
    bytes_.insert(bytes_.end(), raw, raw + sizeof n);
    return *this;
  }
  byte_writer& raw(std::span<std::byte const> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }
  byte_writer& chars(std::string_view text) { return raw(std::as_bytes(std::span(text))); }
  byte_writer& string(std::string_view text) { return number(std::uint64_t{text.size()}).chars(text); }
  byte_writer& pad(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    return *this;
  }
  std::vector<std::byte> const& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

struct tensor_record {
  std::string name;
  std::vector<std::uint64_t> shape;
  tensor_type type = tensor_type::f32;
  std::uint64_t offset = 0;
};

class gguf_builder {
 public:
  std::uint32_t version = 3;
  std::size_t alignment = 32;
  std::uint64_t extra_tensors = 0;  ///< claimed, not there
  std::uint64_t extra_entries = 0;

  gguf_builder& entry(std::string_view key, value_type type, byte_writer const& value) {
    metadata_.string(key).number(type).raw(value.bytes());
    ++entries_;
    return *this;
  }
  gguf_builder& set(std::string_view key, std::uint32_t n) {
    return entry(key, value_type::u32, byte_writer{}.number(n));
  }
  gguf_builder& set(std::string_view key, float n) { return entry(key, value_type::f32, byte_writer{}.number(n)); }
  gguf_builder& set(std::string_view key, char const* text) {
    return entry(key, value_type::string, byte_writer{}.string(text));
  }
  gguf_builder& set(std::string_view key, std::vector<std::string> const& texts) {
    byte_writer w;
    w.number(value_type::string).number(std::uint64_t{texts.size()});
    for (auto const& t : texts) w.string(t);
    return entry(key, value_type::array, w);
  }
  gguf_builder& set(std::string_view key, std::vector<std::int32_t> const& numbers) {
    byte_writer w;
    w.number(value_type::i32).number(std::uint64_t{numbers.size()});
    for (auto const n : numbers) w.number(n);
    return entry(key, value_type::array, w);
  }

  /// A tensor that lies where the record says; `data` adds what lies there.
  gguf_builder& record(tensor_record const& t) {
    tensors_.push_back(t);
    return *this;
  }
  gguf_builder& data(std::span<std::byte const> bytes) {
    data_.raw(bytes);
    return *this;
  }
  /// A proper tensor, behind the last.
  gguf_builder& tensor(std::string name, std::vector<std::uint64_t> shape, std::span<float const> values) {
    return tensor(std::move(name), std::move(shape), tensor_type::f32, std::as_bytes(values));
  }
  gguf_builder& tensor(std::string name, std::vector<std::uint64_t> shape, tensor_type type,
                       std::span<std::byte const> bytes) {
    data_.pad(alignment);
    tensors_.push_back({std::move(name), std::move(shape), type, data_.bytes().size()});
    data_.raw(bytes);
    return *this;
  }

  std::vector<std::byte> build() const {
    byte_writer out;
    out.chars("GGUF").number(version).number(tensors_.size() + extra_tensors).number(entries_ + extra_entries);
    out.raw(metadata_.bytes());
    for (auto const& t : tensors_) {
      out.string(t.name).number(static_cast<std::uint32_t>(t.shape.size()));
      for (auto const extent : t.shape) out.number(extent);
      out.number(t.type).number(t.offset);
    }
    if (!data_.bytes().empty()) out.pad(alignment).raw(data_.bytes());
    return out.bytes();
  }

 private:
  std::uint64_t entries_ = 0;
  byte_writer metadata_;
  std::vector<tensor_record> tensors_;
  byte_writer data_;
};

}  // namespace test

// SPDX-License-Identifier: Apache-2.0
/// Any bytes as a GGUF file: strings, arrays and tensors lie in the file, and whatever is there can be asked for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <fuzz/support.hpp>
#include <tightkv/interop/gguf.hpp>

namespace fuzz {

struct gguf {
  static constexpr char const* name = "gguf";

  static std::vector<std::string> seeds() {
    using tightkv::gguf::tensor_type;
    using tightkv::gguf::value_type;
    writer empty{3, 0, 0}, small{3, 2, 3}, arrays{2, 1, 5};
    small.key("general.architecture", value_type::string).text("llama");
    small.key("llama.block_count", value_type::u32).number<std::uint32_t>(2);
    small.key("general.alignment", value_type::u32).number<std::uint32_t>(8);
    small.tensor("token_embd.weight", {2, 3}, tensor_type::f32, 0)
        .tensor("blk.0.attn_q.weight", {32, 2}, tensor_type::q8_0, 24);
    small.data(8, 24 + 68);
    arrays.key("tokens", value_type::array).array(value_type::string, 3).text("a").text("").text("ccc");
    arrays.key("types", value_type::array).array(value_type::i32, 2).number(1).number(-1);
    arrays.key("flags", value_type::array).array(value_type::boolean, 2).raw(std::string("\0\1", 2));
    arrays.key("nested", value_type::array).array(value_type::array, 1).array(value_type::f64, 1).number(1.5);
    arrays.key("ok", value_type::boolean).raw(std::string(1, '\1'));
    arrays.tensor("t", {4, 1, 2}, tensor_type::f16, 0).data(32, 16);
    return {empty.bytes, small.bytes, arrays.bytes};
  }

  static void run(std::span<std::byte const> input) {
    tightkv::gguf::file const file{input};
    for (auto const& e : file.metadata()) {
      check(e.key, input);
      require(file.find(e.key) == &e.value, "an entry is not found by its key");
      std::visit([&](auto const& v) { check(v, input); }, e.value);
      ask<int>(file, e.key);
      ask<std::uint64_t>(file, e.key);
      ask<float>(file, e.key);
      ask<bool>(file, e.key);
      ask<std::string_view>(file, e.key);
      ask<tightkv::gguf::array>(file, e.key);
    }
    for (auto const& t : file.tensors()) {
      check(t.name, input);
      require(file.find_tensor(t.name) == &t, "a tensor is not found by its name");
      require(inside(t.data, input), "a tensor lies outside the file");
      require(!name_of(t.type).empty(), "a type has no name");
      auto const block = block_of(t.type);
      require(t.data.size() == t.elements() / block.elements * block.bytes, "a tensor has another size than its shape");
      touch(t.data);
    }
  }

 private:
  static void check(std::string_view text, std::span<std::byte const> input) {
    require(inside(std::as_bytes(std::span(text)), input), "a string lies outside the file");
    touch(std::as_bytes(std::span(text)));
  }
  static void check(tightkv::gguf::array const& array, std::span<std::byte const> input) {
    require(inside(array.bytes, input), "an array lies outside the file");
    touch(array.bytes);
  }
  static void check(auto const&, std::span<std::byte const>) {}

  template <class T>
  static void ask(tightkv::gguf::file const& file, std::string_view key) {
    try {
      static_cast<void>(file.get<T>(key));
    } catch (tightkv::bad_argument const&) {}
    try {
      static_cast<void>(file.get_vector<T>(key));
    } catch (tightkv::bad_argument const&) {}
  }

  // Just enough to make seeds.
  struct writer {
    std::string bytes = "GGUF";

    writer(std::uint32_t version, std::uint64_t tensors, std::uint64_t entries) {
      number(version).number(tensors).number(entries);
    }
    writer& raw(std::string_view more) { return bytes.append(more), *this; }
    template <class T>
    writer& number(T value) {
      return raw({reinterpret_cast<char const*>(&value), sizeof value});
    }
    writer& text(std::string_view value) { return number(std::uint64_t{value.size()}).raw(value); }
    writer& key(std::string_view value, tightkv::gguf::value_type type) { return text(value).number(type); }
    writer& array(tightkv::gguf::value_type type, std::uint64_t size) { return number(type).number(size); }
    writer& tensor(std::string_view value, std::vector<std::uint64_t> const& shape, tightkv::gguf::tensor_type type,
                   std::uint64_t offset) {
      text(value).number(static_cast<std::uint32_t>(shape.size()));
      for (auto const extent : shape) number(extent);
      return number(type).number(offset);
    }
    void data(std::size_t alignment, std::size_t size) {
      bytes.append((alignment - bytes.size() % alignment) % alignment + size, '\1');
    }
  };
};

}  // namespace fuzz

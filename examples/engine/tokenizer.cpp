// SPDX-License-Identifier: Apache-2.0
#include "tokenizer.hpp"

#include <algorithm>
#include <queue>
#include <utility>

#include "pre_tokenizer.hpp"

namespace engine {
namespace {

using tightkv::detail::expects;
using tightkv::detail::refuse;

constexpr token none = -1;

/// Byte-level vocabularies write each byte as a printable character: itself where it is one, else 256, 257, ...
std::array<std::uint32_t, 256> byte_alphabet() {
  std::array<std::uint32_t, 256> alphabet{};
  std::uint32_t next = 256;
  for (std::uint32_t b = 0; b < 256; ++b) {
    bool const printable = ('!' <= b && b <= '~') || (0xa1 <= b && b <= 0xac) || 0xae <= b;
    alphabet[b] = printable ? b : next++;
  }
  return alphabet;
}

/// The bytes that a vocabulary entry stands for; what is not in the alphabet (special tokens) stands for itself.
std::string bytes_of(std::string_view piece) {
  static std::unordered_map<std::uint32_t, char> const byte_of = [] {
    std::unordered_map<std::uint32_t, char> result;
    auto const alphabet = byte_alphabet();
    for (std::size_t b = 0; b < alphabet.size(); ++b) result[alphabet[b]] = static_cast<char>(b);
    return result;
  }();
  std::string bytes;
  for (auto rest = piece; !rest.empty();) {
    auto const c = front_of(rest);
    auto const found = byte_of.find(c.code);
    if (found == byte_of.end()) return std::string{piece};
    bytes += found->second;
    rest.remove_prefix(c.bytes);
  }
  return bytes;
}

std::uint64_t pair_of(token left, token right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

std::optional<token> token_at(tightkv::gguf::file const& file, std::string_view key, std::size_t vocabulary) {
  if (file.find(key) == nullptr) return std::nullopt;
  auto const id = file.get<token>(key);
  expects(0 <= id && static_cast<std::size_t>(id) < vocabulary, "engine::tokenizer", "a token is not in the vocabulary",
          key, id);
  return id;
}

}  // namespace

tokenizer::tokenizer(tightkv::gguf::file const& file) {
  auto const model = file.get<std::string_view>("tokenizer.ggml.model");
  expects(model == "gpt2", "engine::tokenizer", "must be a byte-level BPE (gpt2)", "tokenizer.ggml.model",
          tightkv::gguf::detail::printable(model));
  auto const pre = file.get<std::string_view>("tokenizer.ggml.pre");
  expects(pre == "smollm", "engine::tokenizer", "must be cut into words as smollm", "tokenizer.ggml.pre",
          tightkv::gguf::detail::printable(pre));

  auto const pieces = file.get_vector<std::string_view>("tokenizer.ggml.tokens");
  expects(!pieces.empty() && pieces.size() <= 1U << 24, "engine::tokenizer", "the vocabulary has a wrong size", "size",
          pieces.size());
  std::unordered_map<std::string_view, token> ids;
  for (auto const piece : pieces) {
    ids.emplace(piece, static_cast<token>(pieces_.size()));
    pieces_.push_back(bytes_of(piece));
  }
  of_byte_.fill(none);
  for (std::size_t i = pieces_.size(); i-- > 0;) {
    if (pieces_[i].size() == 1) of_byte_[static_cast<unsigned char>(pieces_[i][0])] = static_cast<token>(i);
  }
  read_merges(file, ids);
  read_specials(file);
}

void tokenizer::read_merges(tightkv::gguf::file const& file, std::unordered_map<std::string_view, token> const& ids) {
  auto const lines = file.get_vector<std::string_view>("tokenizer.ggml.merges");
  merges_.reserve(lines.size());
  std::string joined;
  for (std::size_t rank = 0; rank < lines.size(); ++rank) {
    auto const line = lines[rank];
    auto const space = line.find(' ', 1);
    if (space == std::string_view::npos) {
      refuse("engine::tokenizer", "a merge must be two pieces", {{"merge", tightkv::gguf::detail::printable(line)}});
    }
    joined.assign(line.substr(0, space)).append(line.substr(space + 1));
    auto const left = ids.find(line.substr(0, space));
    auto const right = ids.find(line.substr(space + 1));
    auto const result = ids.find(joined);
    if (left == ids.end() || right == ids.end() || result == ids.end()) {
      refuse("engine::tokenizer", "a merge's pieces and result must be in the vocabulary",
             {{"merge", tightkv::gguf::detail::printable(line)}});
    }
    merges_.emplace(pair_of(left->second, right->second), merge{static_cast<std::int32_t>(rank), result->second});
  }
}

void tokenizer::read_specials(tightkv::gguf::file const& file) {
  beginning_ = token_at(file, "tokenizer.ggml.bos_token_id", pieces_.size());
  end_ = token_at(file, "tokenizer.ggml.eos_token_id", pieces_.size());
  if (!file.get_or("tokenizer.ggml.add_bos_token", false)) beginning_.reset();

  if (file.find("tokenizer.ggml.token_type") == nullptr) return;
  auto const types = file.get_vector<std::int32_t>("tokenizer.ggml.token_type");
  expects(types.size() == pieces_.size(), "engine::tokenizer", "there must be a type for each token", "types",
          types.size(), "tokens", pieces_.size());
  for (std::size_t i = 0; i < types.size(); ++i) {
    constexpr std::int32_t control = 3;
    constexpr std::int32_t user_defined = 4;
    bool const special = types[i] == control || types[i] == user_defined;
    if (special && !pieces_[i].empty()) specials_.push_back(static_cast<token>(i));
  }
  // Where two could stand at one place, the longer is meant.
  std::ranges::stable_sort(specials_, std::greater{},
                           [this](token t) { return pieces_[static_cast<std::size_t>(t)].size(); });
}

// Again and again the pair of neighbours that was learnt first becomes one piece; the leftmost of several. Pieces are
// linked to their neighbours, and candidates whose pieces have changed since are passed over.
void tokenizer::encode_word(std::string_view word, std::vector<token>& out) const {
  struct piece {
    token id;
    int previous;
    int next;
  };
  std::vector<piece> pieces;
  for (char const c : word) {
    token const id = of_byte_[static_cast<unsigned char>(c)];
    int const at = static_cast<int>(pieces.size());
    if (id != none) pieces.push_back({id, at - 1, at + 1});
  }
  if (pieces.empty()) return;
  pieces.back().next = none;

  struct candidate {
    std::int32_t rank;
    int left;
    std::uint64_t pair;
    bool operator>(candidate const& other) const { return std::pair(rank, left) > std::pair(other.rank, other.left); }
  };
  std::priority_queue<candidate, std::vector<candidate>, std::greater<>> candidates;
  auto const pair_at = [&](int left) {
    return pair_of(pieces[static_cast<std::size_t>(left)].id,
                   pieces[static_cast<std::size_t>(pieces[static_cast<std::size_t>(left)].next)].id);
  };
  auto const consider = [&](int left) {
    if (left == none || pieces[static_cast<std::size_t>(left)].next == none) return;
    auto const found = merges_.find(pair_at(left));
    if (found != merges_.end()) candidates.push({found->second.rank, left, found->first});
  };
  for (int i = 0; i < static_cast<int>(pieces.size()); ++i) consider(i);

  while (!candidates.empty()) {
    auto const best = candidates.top();
    candidates.pop();
    auto& left = pieces[static_cast<std::size_t>(best.left)];
    if (left.id == none || left.next == none || pair_at(best.left) != best.pair) continue;
    auto& right = pieces[static_cast<std::size_t>(left.next)];
    left.id = merges_.at(best.pair).result;
    left.next = right.next;
    right.id = none;
    if (left.next != none) pieces[static_cast<std::size_t>(left.next)].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
  for (int i = 0; i != none; i = pieces[static_cast<std::size_t>(i)].next) {
    out.push_back(pieces[static_cast<std::size_t>(i)].id);
  }
}

void tokenizer::encode_text(std::string_view text, std::vector<token>& out) const {
  for_each_word(text, [&](std::string_view word) { encode_word(word, out); });
}

std::vector<token> tokenizer::encode(std::string_view text, special_tokens specials) const {
  std::vector<token> tokens;
  std::size_t begin = 0;
  for (std::size_t at = 0; specials == special_tokens::are_recognised && at < text.size();) {
    auto const stands_here = [&](token t) { return text.substr(at).starts_with(pieces_[static_cast<std::size_t>(t)]); };
    auto const found = std::ranges::find_if(specials_, stands_here);
    if (found == specials_.end()) {
      ++at;
      continue;
    }
    encode_text(text.substr(begin, at - begin), tokens);
    tokens.push_back(*found);
    begin = at += pieces_[static_cast<std::size_t>(*found)].size();
  }
  encode_text(text.substr(begin), tokens);
  return tokens;
}

std::string tokenizer::decode(std::span<token const> tokens) const {
  std::string text;
  for (token const t : tokens) {
    expects(0 <= t && t < vocabulary(), "engine::tokenizer", "a token is not in the vocabulary", "token", t);
    text += pieces_[static_cast<std::size_t>(t)];
  }
  return text;
}

}  // namespace engine

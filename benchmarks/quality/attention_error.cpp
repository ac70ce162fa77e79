// SPDX-License-Identifier: Apache-2.0
/// attention_error MODEL CONTEXT CONTINUATION METHOD[,KEY=VALUE]...: how far each layer's attention output is from the
/// full cache's, for the queries of the continuation.
///
/// The full cache is continued once, which gives each layer's queries, keys and values of the continuation. Every
/// method then compresses a copy of the context's cache, and the same queries attend over what is left and the
/// continuation's own rows. So a layer's error is its own: it does not inherit what earlier layers lost.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "attention.hpp"
#include "cache_compressor.hpp"
#include "language_model.hpp"

namespace {

using tightkv::half;
using tightkv::matrix;
using tightkv::cli::method_choice;
using cache_type = engine::kv_cache<half>;

method_choice parse(std::string const& argument) {
  auto const name_end = std::min(argument.find(','), argument.size());
  method_choice choice(std::string_view(argument).substr(0, name_end));
  for (auto at = name_end; at < argument.size();) {
    auto const end = std::min(argument.find(',', at + 1), argument.size());
    choice.set(std::string_view(argument).substr(at + 1, end - at - 1));
    at = end;
  }
  return choice;
}

/// As attention takes them: tokens x (query_head, head_dim).
matrix<float> queries_of(engine::query_capture const& capture, int layer) {
  matrix<float> out(capture.rows, capture.heads * capture.head_dim);
  auto const* from = capture.layers[static_cast<std::size_t>(layer)].data();
  for (int h = 0; h < capture.heads; ++h) {
    for (int r = 0; r < capture.rows; ++r, from += capture.head_dim) {
      std::copy_n(from, capture.head_dim, out.view().row(r) + h * capture.head_dim);
    }
  }
  return out;
}

/// Writes the last rows of `whole`, which counts them, behind those in use of `cache`, which does not yet.
void lend_last_rows(cache_type const& whole, int layer, int rows, cache_type& cache) {
  int const dim = whole.shape().head_dim;
  for (int h = 0; h < whole.shape().kv_heads; ++h) {
    auto const from = h * whole.head_stride() + std::ptrdiff_t{whole.length(layer, h) - rows} * dim;
    auto const to = h * cache.head_stride() + std::ptrdiff_t{cache.length(layer, h)} * dim;
    std::copy_n(whole.keys(layer) + from, rows * dim, cache.keys(layer) + to);
    std::copy_n(whole.values(layer) + from, rows * dim, cache.values(layer) + to);
  }
}

matrix<float> attend(engine::thread_pool& pool, cache_type const& cache, int layer, matrix<float> const& queries) {
  matrix<float> out(queries.rows(), queries.cols());
  engine::attention_of<half> const task{cache, layer, queries.view(), out.view()};
  engine::attend<half>(pool, std::span(&task, 1));
  return out;
}

double relative_error(matrix<float> const& reference, matrix<float> const& other) {
  double difference = 0;
  double size = 0;
  for (int r = 0; r < reference.rows(); ++r) {
    for (int c = 0; c < reference.cols(); ++c) {
      difference += std::pow(other(r, c) - reference(r, c), 2);
      size += std::pow(reference(r, c), 2);
    }
  }
  return std::sqrt(difference / size);
}

nlohmann::ordered_json measure(std::vector<std::string> const& arguments) {
  engine::thread_pool pool(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  auto const ex = engine::executor_on(pool);
  tightkv::cli::language_model model(arguments[0], pool);
  auto const context = model.read_context(arguments[1]);
  auto const continuation = model.read_continuation(arguments[2]);
  int const more = static_cast<int>(continuation.size());
  auto const& s = model.weights.shape();
  cache_type full{{.layers = s.layers,
                   .kv_heads = s.kv_heads,
                   .capacity = static_cast<int>(context.size()) + more,
                   .head_dim = s.head_dim}};
  engine::query_capture seen;
  engine::forward<half>(model.weights, pool, {.tokens = context, .cache = full, .queries = &seen});
  auto continued = full;
  engine::query_capture asked;
  engine::forward<half>(model.weights, pool, {.tokens = continuation, .cache = continued, .queries = &asked});

  std::vector<matrix<float>> references;
  for (int l = 0; l < s.layers; ++l) {
    lend_last_rows(continued, l, more, full);
    references.push_back(attend(pool, full, l, queries_of(asked, l)));
  }
  nlohmann::ordered_json out{{"tokens", context.size()}, {"continuation_tokens", more}};
  tightkv::cli::shared_attention shared;
  for (auto argument = arguments.begin() + 3; argument != arguments.end(); ++argument) {
    auto cache = full;
    tightkv::cli::cache_compressor compressor(parse(*argument), s.layers, static_cast<int>(context.size()));
    compressor.reduce(ex, cache, seen, shared);
    std::vector<double> errors;
    for (int l = 0; l < s.layers; ++l) {
      lend_last_rows(continued, l, more, cache);
      errors.push_back(
          relative_error(references[static_cast<std::size_t>(l)], attend(pool, cache, l, queries_of(asked, l))));
    }
    out["results"].push_back({{"method", *argument}, {"kept", cache.length(s.layers / 2, 0)}, {"errors", errors}});
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> const arguments(argv + 1, argv + argc);
  if (arguments.size() < 4) {
    std::cerr << "attention_error MODEL CONTEXT CONTINUATION METHOD[,KEY=VALUE]...\n";
    return 2;
  }
  try {
    std::cout << measure(arguments).dump() << '\n';
  } catch (std::exception const& error) {
    std::cerr << "attention_error: " << error.what() << '\n';
    return 1;
  }
}

// SPDX-License-Identifier: Apache-2.0
// quality_merge_encoder IN.safetensors OUT.safetensors KV_HEADS KEYS VALUES
//
// Merges the heads of an encoder without RoPE, whose forward pass is elsewhere: IN has for each layer `layers.{i}.` the
// activations `keys`, `values`, `queries` [heads, tokens, head_dim] and the weights `w_k`, `w_q`, `w_v`, `w_o`
// [outputs, inputs] and `b_k`, `b_q`, `b_v`, `b_o`; OUT gets the merged weights under the same names. KEYS and VALUES:
// svd, svd-centred, svd-weights, used (KQ-SVD, or by W_O), used-centred, mean.
#include <cstdlib>
#include <iostream>
#include <list>

#include <tightkv/eigen.hpp>
#include <tightkv/interop/safetensors.hpp>
#include <tightkv/view/layouts.hpp>

namespace {

using namespace tightkv;

class merged_encoder {
  static std::string name(int layer, char const* field) {
    return "layers." + std::to_string(layer) + '.' + std::string(field);
  }
  std::span<float const> numbers(int layer, char const* field) {
    std::vector<float> scratch;
    auto const values = in_.at(name(layer, field)).as<float>(scratch);
    return kept_.emplace_back(values.begin(), values.end());
  }
  auto rows(int layer, char const* field) {
    auto const& shape = in_.at(name(layer, field)).shape;
    detail::expects(shape.size() == 3, "quality_merge_encoder", "activations must be [heads, tokens, head_dim]",
                    "dimensions", shape.size());
    return hnd(numbers(layer, field).data(), {.heads = static_cast<int>(shape[0]),
                                              .tokens = static_cast<int>(shape[1]),
                                              .head_dim = static_cast<int>(shape[2])});
  }
  matrix_view<float const> weight(int layer, char const* field) {
    auto const& shape = in_.at(name(layer, field)).shape;
    detail::expects(shape.size() == 2, "quality_merge_encoder", "weights must be [outputs, inputs]", "dimensions",
                    shape.size());
    auto const columns = static_cast<int>(shape[1]);
    return {numbers(layer, field).data(), static_cast<int>(shape[0]), columns, columns};
  }
  void put(int layer, char const* field, std::vector<float> values, std::vector<std::size_t> shape = {}) {
    if (shape.empty()) shape = {values.size()};
    auto const& kept = kept_.emplace_back(std::move(values));
    out_.push_back(safetensors::tensor_of<float>(name(layer, field), shape, kept));
  }
  void put(int layer, char const* field, matrix<float> const& w) {
    auto const* first = w.view().data;
    put(layer, field, {first, first + std::ptrdiff_t{w.rows()} * w.cols()},
        {static_cast<std::size_t>(w.rows()), static_cast<std::size_t>(w.cols())});
  }

 public:
  merged_encoder(safetensors::contents const& in, int kv_heads) : in_(in), kv_heads_(kv_heads) {}

  bool has(int layer) const { return in_.find(name(layer, "keys")) != nullptr; }

  void merge(int layer, std::string const& keys, std::string const& values) {
    auto const key_rows = rows(layer, "keys");
    auto const value_rows = rows(layer, "values");
    auto const query_rows = rows(layer, "queries");
    attention_shape const shape{.query_heads = query_rows.heads(),
                                .kv_heads = key_rows.heads(),
                                .key_dim = key_rows.head_dim(),
                                .value_dim = value_rows.head_dim()};
    layer_sums sums(shape);
    sums.add(eigen_cpu{}, key_rows, value_rows, query_rows);
    auto const groups = adjacent_groups(shape.kv_heads, kv_heads_);
    auto const merged_by = [&](std::string const& how, gram const& all, gram const& of_weights,
                               matrix<double> const& uses) {
      std::vector<head_projection> result;
      for (auto const& heads : groups) {
        auto const group = group_of(all, shape.kv_heads, heads, uses);
        auto const from = how.ends_with("-centred") ? origin::mean : origin::zero;
        if (how == "mean") {
          result.push_back(mean_heads{}.merge(group));
        } else if (how == "svd-weights") {
          result.push_back(svd_heads{}.merge(group_of(of_weights, shape.kv_heads, heads)));
        } else if (how.starts_with("svd")) {
          result.push_back(svd_heads{.origin = from}.merge(group));
        } else {
          detail::expects(how.starts_with("used"), "quality_merge_encoder", "unknown merger", "merger", how);
          result.push_back(kq_svd{.origin = from}.merge(group));
        }
      }
      return result;
    };
    auto const w_k = weight(layer, "w_k");
    auto const w_v = weight(layer, "w_v");
    auto const w_o = weight(layer, "w_o");
    auto const of_keys = merged_by(keys, sums.keys, weight_gram(w_k), query_uses(sums.queries));
    auto const of_values = merged_by(values, sums.values, weight_gram(w_v), output_uses(w_o, shape));
    auto k =
        fuse_keys(shape, groups, of_keys, {w_k, weight(layer, "w_q"), numbers(layer, "b_k"), numbers(layer, "b_q")});
    auto v = fuse_values(shape, groups, of_values, {w_v, w_o, numbers(layer, "b_v"), numbers(layer, "b_o")});
    put(layer, "w_k", k.key);
    put(layer, "w_q", k.query);
    put(layer, "w_v", v.value);
    put(layer, "w_o", v.output);
    put(layer, "b_k", std::move(k.key_bias));
    put(layer, "b_q", std::move(k.query_bias));
    put(layer, "b_v", std::move(v.value_bias));
    put(layer, "b_o", std::move(v.output_bias));
  }

  void write(std::string const& path) const { safetensors::write(path, {.tensors = out_, .metadata = {}}); }

 private:
  safetensors::contents const& in_;
  int kv_heads_;
  std::list<std::vector<float>> kept_;
  std::vector<safetensors::tensor> out_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    detail::expects(argc == 6, "quality_merge_encoder", "usage: IN OUT KV_HEADS KEYS VALUES");
    auto const file = read_file(argv[1]);
    auto const in = safetensors::parse(file.bytes());
    merged_encoder encoder(in, std::atoi(argv[3]));
    int layers = 0;
    for (; encoder.has(layers); ++layers) encoder.merge(layers, argv[4], argv[5]);
    detail::expects(layers > 0, "quality_merge_encoder", "there are no layers");
    encoder.write(argv[2]);
    return 0;
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}

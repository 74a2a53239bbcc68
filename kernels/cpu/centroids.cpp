// Clusters of the keys of a run of blocks, and what their centroids promise of the pages in which their members lie.
#include "kernels/cpu/centroids.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/landmarks.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr std::size_t kRounds = 10;  // as RetroInfer takes
static_assert(kStripeClusters <= kPanelColumns);

// One KV head of a run, on one thread: spherical k-means over keys that are centred on the run's mean (RetroInfer);
// what a cluster then keeps is the mean of its keys as they are (Squeezed Attention).
class Clustering final {
 public:
  Clustering(const KernelTable& table, std::size_t dim, std::size_t tokens, float* scratch)
      : table_(table),
        dim_(dim),
        tokens_(tokens),
        keys_(scratch),
        directions_(keys_ + kStripeTokens * dim),
        panel_(directions_ + kStripeTokens * dim),
        products_(panel_ + dim * kPanelColumns),
        sums_(products_ + kStripeTokens * kPanelColumns) {}

  static std::size_t scratch_floats(std::size_t dim) {
    return 2 * kStripeTokens * dim + dim * kPanelColumns + kStripeTokens * kPanelColumns + kStripeClusters * dim;
  }

  float* key(std::size_t token) { return keys_ + token * dim_; }

  void run(std::uint16_t* centroids, std::uint8_t* members) {
    take_directions();
    for (std::size_t cluster = 0; cluster < kStripeClusters; ++cluster) {
      point_to(cluster, directions_ + cluster * tokens_ / kStripeClusters * dim_);
    }
    for (std::size_t round = 0; round < kRounds; ++round) {
      assign(members);
      add_up(directions_, members);
      for (std::size_t cluster = 0; cluster < kStripeClusters; ++cluster) point_to(cluster, sums_ + cluster * dim_);
    }
    assign(members);
    add_up(keys_, members);
    for (std::size_t cluster = 0; cluster < kStripeClusters; ++cluster) {
      const auto count =
          static_cast<float>(std::max<std::ptrdiff_t>(1, std::count(members, members + tokens_, cluster)));
      for (std::size_t c = 0; c < dim_; ++c) {
        centroids[cluster * dim_ + c] = float_to_f16(sums_[cluster * dim_ + c] / count);
      }
    }
  }

 private:
  // Every key less the mean of all.
  void take_directions() {
    for (std::size_t c = 0; c < dim_; ++c) {
      float sum = 0;
      for (std::size_t t = 0; t < tokens_; ++t) sum += keys_[t * dim_ + c];
      const float mean = sum / static_cast<float>(tokens_);
      for (std::size_t t = 0; t < tokens_; ++t) directions_[t * dim_ + c] = keys_[t * dim_ + c] - mean;
    }
    for (std::size_t t = 0; t < tokens_; ++t) normalize(directions_ + t * dim_, directions_ + t * dim_, 1);
  }

  // Whether there is a direction; a vector of zeros has none.
  bool normalize(const float* from, float* to, std::size_t stride) const {
    float squares = 0;
    for (std::size_t c = 0; c < dim_; ++c) squares += from[c] * from[c];
    if (!(squares > 0)) return false;
    const float length = std::sqrt(squares);
    for (std::size_t c = 0; c < dim_; ++c) to[c * stride] = from[c] / length;
    return true;
  }

  // A cluster without members stays where it is.
  void point_to(std::size_t cluster, const float* sum) { normalize(sum, panel_ + cluster, kPanelColumns); }

  // Each token to the cluster in whose direction it lies most; the lower one of two that are alike.
  void assign(std::uint8_t* members) {
    table_.multiply_panel({.x = directions_,
                           .x_stride = dim_,
                           .rows = tokens_,
                           .panel = panel_,
                           .depth = dim_,
                           .y = products_,
                           .y_stride = kPanelColumns,
                           .columns = kStripeClusters,
                           .accumulate = false});
    for (std::size_t t = 0; t < tokens_; ++t) {
      const float* products = products_ + t * kPanelColumns;
      members[t] = static_cast<std::uint8_t>(std::max_element(products, products + kStripeClusters) - products);
    }
  }

  void add_up(const float* vectors, const std::uint8_t* members) {
    std::fill_n(sums_, kStripeClusters * dim_, 0.0f);
    for (std::size_t t = 0; t < tokens_; ++t) {
      float* sum = sums_ + members[t] * dim_;
      for (std::size_t c = 0; c < dim_; ++c) sum[c] += vectors[t * dim_ + c];
    }
  }

  const KernelTable& table_;
  const std::size_t dim_;
  const std::size_t tokens_;
  float* keys_;        // [tokens][head_dim]
  float* directions_;  // likewise
  float* panel_;       // [head_dim][kPanelColumns]: the clusters' directions
  float* products_;    // [tokens][kPanelColumns]
  float* sums_;        // [clusters][head_dim]
};

}  // namespace

void cluster(Machine& machine, const KvFormat& format, const Rope& rope, std::int64_t first_position,
             std::span<const std::byte* const> blocks, std::byte* centroids) {
  KERNELS_CHECK(!blocks.empty() && blocks.size() <= kStripeBlocks, blocks.size());
  const std::size_t dim = format.head_dim;
  const std::vector<double> frequencies = inverse_frequencies(rope);
  const std::size_t clustering_floats = Clustering::scratch_floats(dim);
  for (Scratch& scratch : machine.scratch) {
    scratch.reserve(clustering_floats + unrotate_scratch_floats(frequencies));
  }
  machine.pool.parallel_for(format.kv_heads, [&](std::size_t piece, std::size_t thread) {
    const auto head = static_cast<std::uint32_t>(piece);
    float* scratch = machine.scratch[thread].data();
    Clustering clustering(machine.table, dim, blocks.size() * kBlockTokens, scratch);
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      load_unrotated(machine, format, rope, frequencies, first_position + static_cast<std::int64_t>(b * kBlockTokens),
                     blocks[b], head, clustering.key(b * kBlockTokens), scratch + clustering_floats);
    }
    const CentroidView view = view_centroids(centroids + head * centroid_head_bytes(format.head_dim), format.head_dim);
    clustering.run(const_cast<std::uint16_t*>(view.centroids), const_cast<std::uint8_t*>(view.members));
  });
}

std::size_t centroid_scratch_floats(const ScoreTask& task) {
  if (task.landmark != Landmark::centroid) return 0;
  const std::size_t row_heads = task.rows * (task.query_heads / task.kv_heads);
  return (task.head_dim + row_heads) * kPanelColumns;
}

void score_centroids(Machine& machine, const ScoreTask& task, std::uint32_t head, std::size_t first, std::size_t count,
                     const float* queries, float* scores, float* scratch) {
  const std::size_t dim = task.head_dim;
  const std::size_t row_heads = task.rows * (task.query_heads / task.kv_heads);
  float* panel = scratch;                         // [head_dim][kPanelColumns]
  float* products = panel + dim * kPanelColumns;  // [row_heads][kPanelColumns]
  const std::byte* stripe = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* of_block = task.landmarks[first + i];
    const CentroidView view = view_centroids(of_block + head * centroid_head_bytes(task.head_dim), task.head_dim);
    if (of_block != stripe) {  // blocks of one stripe follow each other
      stripe = of_block;
      for (std::size_t cluster = 0; cluster < kStripeClusters; ++cluster) {
        for (std::size_t c = 0; c < dim; ++c) {
          panel[c * kPanelColumns + cluster] = f16_to_float(view.centroids[cluster * dim + c]);
        }
      }
      machine.table.multiply_panel({.x = queries,
                                    .x_stride = dim,
                                    .rows = row_heads,
                                    .panel = panel,
                                    .depth = dim,
                                    .y = products,
                                    .y_stride = kPanelColumns,
                                    .columns = kStripeClusters,
                                    .accumulate = false});
    }
    const std::uint8_t* members = view.members + std::size_t{task.places[first + i]} * kBlockTokens;
    for (std::size_t row = 0; row < row_heads; ++row) {
      const float* of_clusters = products + row * kPanelColumns;
      float* of_pages = scores + row * task.landmarks.size() * kBlockPages + i * kBlockPages;
      for (std::size_t page = 0; page < kBlockPages; ++page) {
        // What another store wrote may name any cluster.
        const auto score = [&](std::size_t t) {
          return of_clusters[members[page * kPageTokens + t] % kStripeClusters];
        };
        float best = score(0);
        for (std::size_t t = 1; t < kPageTokens; ++t) best = std::max(best, score(t));
        of_pages[page] = best;
      }
    }
  }
}

}  // namespace rotulus::kernels::cpu

// START HERE. The mathematics of a forward pass as a dozen coarse verbs on views; CPU and CUDA stand behind it.
//
// The contract that the whole system rests on: *a row's result depends on that row, the weights and its role, never on
// how many rows, threads, requests or ranks share the call*, bit for bit, inside one numerics id.
//
// Verbs enqueue on a Stream; results are there after Stream::wait(). The CPU stream runs a verb at once. Views must
// stay alive until then. Shapes are CHECKed. Verbs throw nothing; allocate() throws std::bad_alloc;
// kernels include nothing of ours, so no protocol::Error either.
//
// Threads: one thread at a time calls a backend; it spreads the work over its pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/kv_format.h"
#include "kernels/landmarks.h"
#include "kernels/thread_pool.h"
#include "kernels/views.h"

namespace rotulus::kernels {

// Prefill rows are computed with weights dequantized into float32 panels; decode rows with a product that reads the
// quantized weights once. Both are exact to the bit for any number of rows; they differ from each other in rounding.
// (In Arithmetic::int8 they do not.)
enum class Role : std::uint8_t { prefill, decode };

enum class MemoryKind : std::uint8_t { host, device };

class Stream {
 public:
  virtual ~Stream() = default;
  virtual void wait() = 0;
};

// Zeroed memory, 64-byte aligned, in huge pages where it is large.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual std::byte* data() = 0;
  virtual std::size_t bytes() const = 0;
};

// A weight in the backend's own layout; still quantized. Made once by Backend::pack.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  virtual std::size_t rows() const = 0;     // outputs
  virtual std::size_t columns() const = 0;  // inputs
  virtual std::size_t bytes() const = 0;
};

// Rotary embedding. Pair j of a head turns by position * base^(-2j / dims) / divisors[j]. The angle is computed and
// reduced in double, a pure function of the position. Only the first `dims` entries of a head turn.
enum class RopePairing : std::uint8_t { neighbours /* (2j, 2j+1): GGUF llama */, halves /* (j, j + dims/2) */ };
struct Rope {
  std::uint32_t dims = 0;  // 0: no rotation
  double base = 10000.0;
  RopePairing pairing = RopePairing::neighbours;
  std::vector<double> divisors;  // [dims / 2], how much slower each pair turns than plain RoPE; empty: none does
};

// Attention of query rows over a list of stripes, one partial for each node of `nodes`.
//
// For each row, head and lane: the lane's stripes are folded in order with one online-softmax update per stripe
// (absent and masked keys add exact zeros). The lanes' partials are merged along the fixed binary tree over lanes
// (merge below; an empty lane is its identity). parts[n] receives the tree's value at nodes[n]. A lane outside all
// nodes must have no stripe.
//
//   score(i, k) = scale * <rope(q_i, position_i - shift), key_k>,  capped: soft_cap * tanh(score / soft_cap)
//   key k visible iff 0 <= position_i - position_k (and < window), by true document positions whatever the shift
//   lse = ln sum exp(score),  out = sum exp(score - lse) * value_k            (Milakov & Gimelshein 2018)
//
// A learned sink (MergeTask::sink_logits) is no part of this: it joins once, where all partials have met.
struct LaneSpan {
  std::uint32_t first = 0;  // aligned to size
  std::uint32_t size = 0;   // a power of two
};
struct AttendTask {
  KvFormat format;
  std::uint32_t query_heads = 0;  // a multiple of kv_heads; heads h·g … h·g+g-1 share KV head h
  std::size_t rows = 0;
  const float* queries = nullptr;           // [rows, query_heads, head_dim], not rotated
  const std::int64_t* positions = nullptr;  // [rows], document positions
  Rope rope;
  float scale = 0;          // 1/sqrt(head_dim)
  std::int64_t window = 0;  // 0: every key up to the row's own position
  float soft_cap = 0;       // 0: scores as they are
  std::span<const KvBlock> blocks;
  std::span<const Stripe> stripes;  // ordered by (lane, position)
  std::span<const LaneSpan> nodes;  // disjoint, ascending
  std::span<const Partial> parts;   // one per node
  // By-product where not null: the lse of each page's scores alone, -inf where the row sees nothing of it; a function
  // of the row and the page. The page's share of a row's softmax is exp(page_lse - lse), with the row's lse of the
  // final merge. Blocks that are in no stripe have -inf.
  float* page_lse = nullptr;       // [rows, query_heads, blocks.size(), 8 pages]
  std::function<void()> progress;  // called between tiles by the calling thread; may be empty
};

// out_i = sum_n exp(lse_in - lse_i) * part_n.out_i merged pairwise as a tree; see merge_tree.
//
// Every row's partials meet in exactly one merge that holds its tail, so a learned sink is given there and nowhere
// else: it is one more partial with lse = its logit and out = 0, merged after the tail.
struct MergeTask {
  std::size_t rows = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t head_dim = 0;
  std::span<const LaneSpan> nodes;      // disjoint; any order; of any sizes of the tree
  std::span<const ConstPartial> parts;  // one per node
  ConstPartial tail;                    // merged after them; out == nullptr: none
  const float* sink_logits = nullptr;   // [query_heads], merged last; nullptr: none, -inf: none for that head
  Partial into;                         // may not alias
};

// What pages promise to some query rows, from their landmarks alone (landmarks.h); queries and keys not rotated.
//
//   sketch   score(i, p) = max over the 16 tokens t of page p of  scale * <q_i, key~_t>
//   mean     score(i, p) = scale * <q_i, mean_p>
//   bounds   score(i, p) = scale * sum over channels c of max(q_ic low_pc, q_ic high_pc), low and high being the page's
//            bounds (Quest, Tang et al. 2024)
//   sketched_bounds   likewise, low and high being the least and greatest of the page's 16 sketched keys
//   centroid  score(i, p) = max over the 16 tokens t of page p of  scale * <q_i, centroid of the cluster of t>
//   lse(i, run) = ln sum over the pages p of the run of exp(score(i, p))
enum class Landmark : std::uint8_t { sketch, mean, bounds, sketched_bounds, centroid };
struct PageRun {
  std::uint32_t first_block = 0;  // index into ScoreTask::landmarks
  std::uint32_t block_count = 0;
};
struct ScoreTask {
  std::uint32_t kv_heads = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t head_dim = 0;
  float scale = 0;
  Landmark landmark = Landmark::sketch;
  std::size_t rows = 0;
  const float* queries = nullptr;  // [rows, query_heads, head_dim], not rotated
  // Of complete blocks, landmark_block_bytes or bounds_block_bytes each; centroids of each one's stripe.
  std::span<const std::byte* const> landmarks;
  std::span<const std::uint8_t> places;      // [blocks], of each in its stripe; for centroids alone
  std::span<const std::uint8_t> head_masks;  // [blocks, kv_heads], the pages scored, the others are -inf; empty: all
  std::span<const PageRun> runs;             // e.g. one for each lane
  float* scores = nullptr;                   // [query_heads, rows, 8 * blocks]
  float* lse = nullptr;                      // [runs, query_heads, rows]
};

// The most that pages can weigh in the softmax of one row, from the bounds of their keys:
//
//   most(h, p) >= ln sum over the 16 tokens t of page p of exp(score(h, t)),  score as AttendTask has it
//
// A key is bounded as it is before it turns with its position, so the query turns back instead, for each token of a
// page by itself: with q_t = rope(q, distance - t), exp(scale * sum over c of max(q_tc low_pc, q_tc high_pc)) is what a
// token weighs at most. What float32 may round off on either side is added.
struct BoundTask {
  std::uint32_t kv_heads = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t head_dim = 0;
  Rope rope;
  float scale = 0;
  float soft_cap = 0;                        // as AttendTask
  const float* query = nullptr;              // [query_heads, head_dim], not rotated
  std::span<const std::byte* const> bounds;  // of complete blocks, bounds_block_bytes each
  std::span<const std::int64_t> distances;   // [blocks], of the row from the block's first token, as that is shown
  float* most = nullptr;                     // [query_heads, 8 * blocks]
};

// The vote of a page for a KV head: over the rows and the query heads that share it, the maximum or ln sum exp of
// score - lse, the logarithm of its share of the softmax over all pages.
enum class VoteRule : std::uint8_t { maximum, sum };
struct VoteTask {
  VoteRule rule = VoteRule::maximum;
  std::uint32_t kv_heads = 0;
  std::uint32_t query_heads = 0;
  std::size_t rows = 0;
  std::size_t pages = 0;
  const float* scores = nullptr;  // as ScoreTask gives them
  const float* lse = nullptr;     // [query_heads, rows], over all pages
  float* votes = nullptr;         // [kv_heads, pages], raised to the vote where it is higher, or by it; -inf at first
};

// sums(run, list) = ln sum over the pages p of the run of exp(values(list, p))
struct PageSumTask {
  std::size_t lists = 0;
  std::size_t pages = 0;
  const float* values = nullptr;  // [lists, pages]
  std::span<const PageRun> runs;
  float* sums = nullptr;  // [runs, lists]
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Names what determines the bits: the ISA row, the arithmetic and the version of the kernels, e.g. "avx512.f32.1".
  virtual const std::string& numerics_id() const = 0;
  virtual std::size_t thread_count() const = 0;

  virtual std::unique_ptr<Stream> make_stream() = 0;
  virtual std::unique_ptr<Buffer> allocate(std::size_t bytes, MemoryKind kind) = 0;
  virtual std::unique_ptr<PackedWeight> pack(const WeightSource& source) = 0;

  // y[i] = W x[i].  x [rows, inputs], y [rows, outputs]; may not alias.
  virtual void matmul(Stream&, Role role, const PackedWeight& weight, ConstMatrix x, Matrix y) = 0;

  // y[i] = dequantized row ids[i] of a weight as it lies in the file.
  virtual void embed(Stream&, const WeightSource& table, std::span<const std::uint32_t> ids, Matrix y) = 0;

  // y[i] = x[i] / sqrt(mean(x[i]^2) + epsilon) * weight.  May alias.                           (RMSNorm)
  virtual void norm(Stream&, ConstMatrix x, std::span<const float> weight, float epsilon, Matrix y) = 0;

  // into[i] += x[i].
  virtual void add(Stream&, ConstMatrix x, Matrix into) = 0;

  // x[i] *= factor.
  virtual void scale(Stream&, float factor, Matrix x) = 0;

  // x[i] = cap * tanh(x[i] / cap).
  virtual void soft_cap(Stream&, float cap, Matrix x) = 0;

  // y[i] = silu(gate[i]) * up[i].  y may alias gate or up.
  virtual void silu_multiply(Stream&, ConstMatrix gate, ConstMatrix up, Matrix y) = 0;

  // y[i] = gelu(gate[i]) * up[i], gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).  y may alias gate or up.
  virtual void gelu_multiply(Stream&, ConstMatrix gate, ConstMatrix up, Matrix y) = 0;

  // Turns `heads` heads of each row in place, by the row's position.  x [rows, heads * head_dim]
  virtual void rotate(Stream&, const Rope& rope, std::uint32_t heads, std::span<const std::int64_t> positions,
                      Matrix x) = 0;

  // Writes keys (rotated) and values of x.rows tokens into their stored form, from row `first_row` of `block` on.
  // keys, values [rows, kv_heads * head_dim]; block: format.block_bytes(), zeroed before its first row.
  virtual void append(Stream&, const KvFormat& format, ConstMatrix keys, ConstMatrix values, std::uint32_t first_row,
                      std::byte* block) = 0;

  virtual void attend(Stream&, const AttendTask& task) = 0;

  // Merges nodes of the lane tree up to the root, then the tail, then the sink. merge(a, b): an empty side is the
  // identity, bit for bit; otherwise m = max(lse_a, lse_b), w_x = exp(lse_x - m), out = (w_a out_a + w_b out_b) / (w_a
  // + w_b), lse = m + ln(w_a + w_b), the lower lanes on side a.
  virtual void merge(Stream&, const MergeTask& task) = 0;

  // Writes the landmarks and the bounds, each where it is not null, of a complete block, whose first token stands at
  // `first_position`, from its stored keys.
  virtual void summarize(Stream&, const KvFormat& format, const Rope& rope, std::int64_t first_position,
                         const std::byte* block, std::byte* landmarks, std::byte* bounds) = 0;
  // Writes the centroids of the complete blocks of a stripe, its first ones, the first of whose tokens stands at
  // `first_position`, into zeroed memory.
  virtual void cluster(Stream&, const KvFormat& format, const Rope& rope, std::int64_t first_position,
                       std::span<const std::byte* const> blocks, std::byte* centroids) = 0;
  virtual void score(Stream&, const ScoreTask& task) = 0;
  virtual void bound(Stream&, const BoundTask& task) = 0;
  // The lse of merge() alone, of `count` sums for each node: parts[n][count] over nodes[n], up to the root.
  virtual void merge_sums(Stream&, std::size_t count, std::span<const LaneSpan> nodes,
                          std::span<const float* const> parts, float* into) = 0;
  virtual void vote(Stream&, const VoteTask& task) = 0;
  virtual void sum_pages(Stream&, const PageSumTask& task) = 0;
  // How many of the leading `logs` it takes until their exp add up to `share` of exp(total); all, where they do not.
  virtual void count_share(Stream&, std::span<const float> logs, float total, float share, std::size_t& count) = 0;
};

// The instruction-set rows of the CPU backend, slowest first. `automatic` takes the best that this machine runs.
enum class Isa : std::uint8_t { automatic, scalar, avx2, avx512 };
std::string to_string(Isa isa);
bool parse_isa(const std::string& name, Isa& isa);
std::vector<Isa> supported_isas();

// What dense products are computed in; everything else is float32 in any case.
//
//   int8   inputs rounded to 8 bits, with a scale for each 32 of a row; weights keep their own codes and scales, those
//          that are not quantized become 8-bit codes likewise. Integers are summed exactly, so every row of kernels and
//          both roles give the same bits.
//   bf16   for Role::prefill, inputs and weights rounded to bf16 and added in float32; of the AVX-512 row, where the
//          machine has the instruction.
enum class Arithmetic : std::uint8_t { f32, bf16, int8 };
std::string to_string(Arithmetic arithmetic);

// Throws std::invalid_argument naming the row if this machine cannot run it, or not in this arithmetic (kernels know no
// protocol::Error).
std::unique_ptr<Backend> make_cpu_backend(Isa isa, std::size_t thread_count, Arithmetic arithmetic = Arithmetic::f32);

// nullptr where the project was built without CUDA, or no device is present.
std::unique_ptr<Backend> make_cuda_backend();

}  // namespace rotulus::kernels

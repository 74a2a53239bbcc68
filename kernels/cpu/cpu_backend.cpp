#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cpu/centroids.h"
#include "kernels/cpu/kv_codec.h"
#include "kernels/cpu/landmarks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/packed_weight.h"

namespace rotulus::kernels::cpu {
namespace {

// The version of the arithmetic: raised whenever a change of the kernels changes bits.
constexpr const char* kVersion = "3";

constexpr std::size_t kFloatsPerPiece = 16384;  // of a row-wise verb; less is not worth waking a thread for

class InlineStream final : public Stream {
 public:
  void wait() override {}
};

void check_same_shape(const ConstMatrix& a, const ConstMatrix& b) {
  KERNELS_CHECK(a.rows == b.rows && a.columns == b.columns, a.rows, a.columns, b.rows, b.columns);
}

}  // namespace

CpuBackend::CpuBackend(const Row& row, Arithmetic arithmetic, std::size_t thread_count)
    : arithmetic_(arithmetic),
      numerics_id_(std::string(row.table.name) + "." + to_string(arithmetic) + "." + kVersion),
      pool_(thread_count),
      machine_{row.table, row.codes, row.bf16, pool_, std::vector<Scratch>(thread_count), {}, {}} {}

template <typename RowTask>
void CpuBackend::for_rows(std::size_t rows, std::size_t columns, const RowTask& task) {
  const std::size_t rows_per_piece = std::max<std::size_t>(1, kFloatsPerPiece / std::max<std::size_t>(1, columns));
  pool_.parallel_for((rows + rows_per_piece - 1) / rows_per_piece, [&](std::size_t piece, std::size_t) {
    const std::size_t end = std::min(rows, (piece + 1) * rows_per_piece);
    for (std::size_t row = piece * rows_per_piece; row < end; ++row) task(row);
  });
}

std::unique_ptr<Stream> CpuBackend::make_stream() {
  return std::make_unique<InlineStream>();
}

std::unique_ptr<Buffer> CpuBackend::allocate(std::size_t bytes, MemoryKind) {
  return std::make_unique<HostBuffer>(bytes);
}

std::unique_ptr<PackedWeight> CpuBackend::pack(const WeightSource& source) {
  return std::make_unique<CpuPackedWeight>(source, arithmetic_ == Arithmetic::int8 ? Packing::bytes : Packing::words,
                                           pool_);
}

void CpuBackend::matmul(Stream&, Role role, const PackedWeight& weight, ConstMatrix x, Matrix y) {
  KERNELS_CHECK(x.columns == weight.columns() && y.columns == weight.rows() && x.rows == y.rows, x.rows, x.columns,
                y.rows, y.columns, weight.rows(), weight.columns());
  const PackedView& view = static_cast<const CpuPackedWeight&>(weight).view();
  if (view.packing == Packing::bytes) {
    multiply_codes(machine_, view, x, y);
  } else if (role == Role::prefill) {
    multiply_prefill(machine_, view, x, y);
  } else {
    multiply_decode(machine_, view, x, y);
  }
}

void CpuBackend::embed(Stream&, const WeightSource& table, std::span<const std::uint32_t> ids, Matrix y) {
  KERNELS_CHECK(y.rows == ids.size() && y.columns == table.columns, y.rows, ids.size(), y.columns, table.columns);
  const std::size_t row_bytes = weight_row_bytes(table.type, table.columns);
  KERNELS_CHECK(table.bytes.size() == table.rows * row_bytes, table.bytes.size(), table.rows, row_bytes);
  for_rows(y.rows, y.columns, [&](std::size_t row) {
    KERNELS_CHECK(ids[row] < table.rows, ids[row], table.rows);
    dequantize_row(table.type, table.bytes.data() + ids[row] * row_bytes, table.columns, y.row(row));
  });
}

void CpuBackend::norm(Stream&, ConstMatrix x, std::span<const float> weight, float epsilon, Matrix y) {
  check_same_shape(x, y);
  KERNELS_CHECK(weight.size() == x.columns, weight.size(), x.columns);
  for_rows(x.rows, x.columns,
           [&](std::size_t row) { machine_.table.norm(x.row(row), weight.data(), epsilon, x.columns, y.row(row)); });
}

void CpuBackend::add(Stream&, ConstMatrix x, Matrix into) {
  check_same_shape(x, into);
  for_rows(x.rows, x.columns, [&](std::size_t row) { machine_.table.add(x.row(row), x.columns, into.row(row)); });
}

void CpuBackend::scale(Stream&, float factor, Matrix x) {
  for_rows(x.rows, x.columns,
           [&](std::size_t row) { machine_.table.scale(x.row(row), factor, x.columns, x.row(row)); });
}

void CpuBackend::soft_cap(Stream&, float cap, Matrix x) {
  KERNELS_CHECK(cap > 0, cap);
  for_rows(x.rows, x.columns, [&](std::size_t row) { machine_.table.soft_cap(cap, x.columns, x.row(row)); });
}

void CpuBackend::multiply_gated(void (*kernel)(const float*, const float*, std::size_t, float*), ConstMatrix gate,
                                ConstMatrix up, Matrix y) {
  check_same_shape(gate, up);
  check_same_shape(gate, y);
  for_rows(gate.rows, gate.columns,
           [&](std::size_t row) { kernel(gate.row(row), up.row(row), gate.columns, y.row(row)); });
}

void CpuBackend::silu_multiply(Stream&, ConstMatrix gate, ConstMatrix up, Matrix y) {
  multiply_gated(machine_.table.silu_multiply, gate, up, y);
}

void CpuBackend::gelu_multiply(Stream&, ConstMatrix gate, ConstMatrix up, Matrix y) {
  multiply_gated(machine_.table.gelu_multiply, gate, up, y);
}

void CpuBackend::rotate(Stream&, const Rope& rope, std::uint32_t heads, std::span<const std::int64_t> positions,
                        Matrix x) {
  KERNELS_CHECK(heads > 0 && x.columns % heads == 0 && positions.size() == x.rows, heads, x.columns, positions.size(),
                x.rows);
  const auto head_dim = static_cast<std::uint32_t>(x.columns / heads);
  KERNELS_CHECK(rope.dims % 2 == 0 && rope.dims <= head_dim, rope.dims, head_dim);
  KERNELS_CHECK(rope.divisors.empty() || rope.divisors.size() == rope.dims / 2, rope.divisors.size(), rope.dims);
  if (rope.dims == 0) return;
  const std::span<const double> frequencies = machine_.frequencies.of(rope);
  const std::size_t pairs = frequencies.size();
  const std::size_t rows_per_piece = std::max<std::size_t>(1, kFloatsPerPiece / x.columns);
  for (Scratch& scratch : machine_.scratch) scratch.reserve(rope.dims);
  pool_.parallel_for((x.rows + rows_per_piece - 1) / rows_per_piece, [&](std::size_t piece, std::size_t thread) {
    float* angles = machine_.scratch[thread].data();
    const Rotation rotation{.cosines = angles,
                            .sines = angles + pairs,
                            .dims = rope.dims,
                            .head_dim = head_dim,
                            .neighbours = rope.pairing == RopePairing::neighbours,
                            .scale = 1.0f};
    for (std::size_t row = piece * rows_per_piece; row < std::min(x.rows, (piece + 1) * rows_per_piece); ++row) {
      const auto position = static_cast<double>(positions[row]);
      machine_.table.rope_table(position, frequencies.data(), pairs, angles, angles + pairs);
      for (std::uint32_t h = 0; h < heads; ++h) {
        float* head = x.row(row) + std::size_t{h} * head_dim;
        machine_.table.rotate(rotation, head, head);
      }
    }
  });
}

void CpuBackend::append(Stream&, const KvFormat& format, ConstMatrix keys, ConstMatrix values, std::uint32_t first_row,
                        std::byte* block) {
  check_same_shape(keys, values);
  KERNELS_CHECK(keys.columns == std::size_t{format.kv_heads} * format.head_dim, keys.columns, format.kv_heads,
                format.head_dim);
  KERNELS_CHECK(format.head_dim % 16 == 0 && format.head_dim <= kMaxHeadDim, format.head_dim);
  KERNELS_CHECK(first_row + keys.rows <= kBlockTokens, first_row, keys.rows);
  KERNELS_CHECK(reinterpret_cast<std::uintptr_t>(block) % kKvElementAlignment == 0, first_row);
  store_rows(machine_.table, format, keys, values, first_row, block);
}

void CpuBackend::attend(Stream&, const AttendTask& task) {
  cpu::attend(machine_, task);
}

void CpuBackend::merge(Stream&, const MergeTask& task) {
  cpu::merge(machine_, task);
}

void CpuBackend::summarize(Stream&, const KvFormat& format, const Rope& rope, std::int64_t first_position,
                           const std::byte* block, std::byte* landmarks, std::byte* bounds) {
  cpu::summarize(machine_, format, rope, first_position, block, landmarks, bounds);
}

void CpuBackend::cluster(Stream&, const KvFormat& format, const Rope& rope, std::int64_t first_position,
                         std::span<const std::byte* const> blocks, std::byte* centroids) {
  cpu::cluster(machine_, format, rope, first_position, blocks, centroids);
}

void CpuBackend::score(Stream&, const ScoreTask& task) {
  cpu::score(machine_, task);
}

void CpuBackend::bound(Stream&, const BoundTask& task) {
  cpu::bound(machine_, task);
}

void CpuBackend::merge_sums(Stream&, std::size_t count, std::span<const LaneSpan> nodes,
                            std::span<const float* const> parts, float* into) {
  cpu::merge_sums(machine_, count, nodes, parts, into);
}

void CpuBackend::vote(Stream&, const VoteTask& task) {
  cpu::vote(machine_, task);
}

void CpuBackend::sum_pages(Stream&, const PageSumTask& task) {
  cpu::sum_pages(machine_, task);
}

void CpuBackend::count_share(Stream&, std::span<const float> logs, float total, float share, std::size_t& count) {
  cpu::count_share(logs, total, share, count);
}

}  // namespace rotulus::kernels::cpu

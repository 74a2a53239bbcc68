#include "kernels/cpu/matmul.h"

#include <algorithm>

namespace rotulus::kernels::cpu {
namespace {

constexpr std::size_t kPanelDepth = 512;  // inputs of one panel: 128 KiB of float32, half of the smallest L2
static_assert(kPanelDepth % kSumRun == 0 && kSumRun % kWeightBlock == 0, "how panels are cut leaves no trace");
constexpr std::size_t kPanelBlocks =
    64;  // of a panel of codes: 80 KiB in L2; in L1, a quarter of it, outputs cost more
constexpr std::size_t kPiecesPerThread = 4;  // so that the last piece running leaves little idle time
constexpr std::size_t kRowsPerPiece = 96;    // at least; fewer would not pay for dequantizing the panel again

std::size_t ceil_div(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}

constexpr std::size_t kFewRows = 12;  // up to which unpacking a panel costs more than it saves

// Rows of a piece: as few as it takes to occupy the threads.
std::size_t rows_per_piece(std::size_t rows, std::size_t panels, std::size_t threads) {
  if (threads == 1) return rows;
  const std::size_t cuts = std::clamp<std::size_t>(ceil_div(kPiecesPerThread * threads, panels), 1,
                                                   std::max<std::size_t>(1, rows / kRowsPerPiece));
  return ceil_div(ceil_div(rows, cuts), kFoldRowHeads) * kFoldRowHeads;
}

// Calls a product of few rows for runs of whole panels of the weight.
void for_groups(Machine& machine, const PackedView& weight, ConstMatrix x, Matrix y,
                void (*multiply)(const DecodeProduct&)) {
  const std::size_t groups = ceil_div(weight.rows, kPanelColumns) * kPanelGroups;
  const std::size_t pieces = machine.pool.thread_count() == 1 ? 1 : kPiecesPerThread * machine.pool.thread_count();
  const std::size_t piece_groups = ceil_div(ceil_div(groups, pieces), kPanelGroups) * kPanelGroups;
  machine.pool.parallel_for(ceil_div(groups, piece_groups), [&](std::size_t piece, std::size_t) {
    const std::size_t first = piece * piece_groups;
    multiply({.weight = weight,
              .first_group = first,
              .groups = std::min(piece_groups, groups - first),
              .x = x.data,
              .x_stride = x.stride,
              .rows = x.rows,
              .y = y.data,
              .y_stride = y.stride});
  });
}

// `x` rounded, as code_kernels.h says.
void multiply_code_panels(Machine& machine, const PackedView& weight, ConstMatrix x, Matrix y) {
  const WeightForm form = form_of(weight.type, weight.packing);
  const std::size_t panels = ceil_div(weight.rows, kCodeOutputs);
  const std::size_t piece_rows = rows_per_piece(x.rows, panels, machine.pool.thread_count());
  const std::size_t row_pieces = ceil_div(x.rows, piece_rows);
  const std::size_t blocks = weight.columns / kWeightBlock;
  for (Scratch& scratch : machine.scratch) scratch.reserve(kPanelBlocks * panel_block_floats(form));
  machine.pool.parallel_for(panels * row_pieces, [&](std::size_t piece, std::size_t thread) {
    const std::size_t panel = piece / row_pieces;
    const std::size_t first_row = piece % row_pieces * piece_rows;
    const std::size_t first_output = panel * kCodeOutputs;
    float* const floats = machine.scratch[thread].data();
    std::size_t block = 0;
    do {
      const std::size_t count = std::min(kPanelBlocks, blocks - block);
      machine.codes.unpack_codes(weight, first_output / kGroupOutputs, block, count, floats);
      machine.codes.multiply_codes({.type = weight.type,
                                    .blocks = count,
                                    .x = x.row(first_row) + block * row_block_floats(form),
                                    .x_stride = x.stride,
                                    .rows = std::min(piece_rows, x.rows - first_row),
                                    .panel = floats,
                                    .outputs = std::min(kCodeOutputs, weight.rows - first_output),
                                    .y = y.row(first_row) + first_output,
                                    .y_stride = y.stride,
                                    .extend = block > 0});
      block += count;
    } while (block < blocks);
  });
}

// Calls task(row) for each row, on all threads.
template <typename Task>
void for_rows(Machine& machine, std::size_t rows, const Task& task) {
  machine.pool.parallel_for(ceil_div(rows, kRowsPerPiece), [&](std::size_t piece, std::size_t) {
    for (std::size_t row = piece * kRowsPerPiece; row < std::min(rows, (piece + 1) * kRowsPerPiece); ++row) task(row);
  });
}

// The rows as pairs of bf16.
ConstMatrix round_to_pairs(Machine& machine, ConstMatrix x) {
  const std::size_t columns = (x.columns + 1) / 2;
  const Matrix pairs{machine.shared.reserve(x.rows * columns), x.rows, columns, columns};
  for_rows(machine, x.rows, [&](std::size_t row) { machine.bf16->round_row(x.row(row), x.columns, pairs.row(row)); });
  return pairs;
}

// A product of rows that are pairs already with a panel of floats, which become pairs in `scratch`.
void multiply_pairs(const Bf16Kernels& kernels, PanelProduct product, float* scratch) {
  kernels.round_panel(product.panel, product.depth, scratch);
  product.panel = scratch;
  product.depth = (product.depth + 1) / 2;
  kernels.multiply_panel(product);
}

}  // namespace

void multiply_prefill(Machine& machine, const PackedView& weight, ConstMatrix x, Matrix y) {
  if (x.rows == 0 || weight.rows == 0) return;
  if (machine.bf16 != nullptr) x = round_to_pairs(machine, x);
  const std::size_t panels = ceil_div(weight.rows, kPanelColumns);
  const std::size_t piece_rows = rows_per_piece(x.rows, panels, machine.pool.thread_count());
  const std::size_t row_pieces = ceil_div(x.rows, piece_rows);
  // Whole runs, and depths as equal as that allows. No input at all still is one (empty) product, which writes zeros.
  const std::size_t depths = std::max<std::size_t>(1, ceil_div(weight.columns, kPanelDepth));
  const std::size_t depth = ceil_div(ceil_div(weight.columns, depths), kSumRun) * kSumRun;
  for (Scratch& scratch : machine.scratch) scratch.reserve(2 * depth * kPanelColumns);
  machine.pool.parallel_for(panels * row_pieces, [&](std::size_t piece, std::size_t thread) {
    const std::size_t panel = piece / row_pieces;
    const std::size_t first_row = piece % row_pieces * piece_rows;
    const std::size_t first_output = panel * kPanelColumns;
    float* const floats = machine.scratch[thread].data();
    std::size_t k = 0;
    do {
      const std::size_t count = std::min(depth, weight.columns - k);
      machine.table.unpack_panel(weight, panel * kPanelGroups, k, count, floats);
      const PanelProduct product{.x = x.row(first_row) + (machine.bf16 == nullptr ? k : k / 2),
                                 .x_stride = x.stride,
                                 .rows = std::min(piece_rows, x.rows - first_row),
                                 .panel = floats,
                                 .depth = count,
                                 .y = y.row(first_row) + first_output,
                                 .y_stride = y.stride,
                                 .columns = std::min(kPanelColumns, weight.rows - first_output),
                                 .accumulate = k > 0};
      if (machine.bf16 == nullptr) {
        machine.table.multiply_panel(product);
      } else {
        multiply_pairs(*machine.bf16, product, floats + depth * kPanelColumns);
      }
      k += count;
    } while (k < weight.columns);
  });
}

void multiply_decode(Machine& machine, const PackedView& weight, ConstMatrix x, Matrix y) {
  if (x.rows == 0 || weight.rows == 0) return;
  const WeightForm form = form_of(weight.type);
  if (form.is_quantized()) {
    const std::size_t sums = form.has_minimum ? weight.columns / form.scale_columns : 0;
    const Matrix prepared{machine.shared.reserve(x.rows * (weight.columns + sums)), x.rows, weight.columns,
                          weight.columns + sums};
    for (std::size_t row = 0; row < x.rows; ++row) {
      machine.table.prepare_decode(weight.type, x.row(row), weight.columns, prepared.row(row));
    }
    x = prepared;
  }
  for_groups(machine, weight, x, y, machine.table.decode);
}

void multiply_codes(Machine& machine, const PackedView& weight, ConstMatrix x, Matrix y) {
  if (x.rows == 0 || weight.rows == 0) return;
  const std::size_t row_floats = weight.columns / kWeightBlock * row_block_floats(form_of(weight.type));
  const Matrix rounded{machine.shared.reserve(x.rows * row_floats), x.rows, row_floats, row_floats};
  for_rows(machine, x.rows, [&](std::size_t row) {
    machine.codes.quantize_row(weight.type, x.row(row), weight.columns, rounded.row(row));
  });
  if (x.rows <= kFewRows && machine.codes.multiply_few != nullptr) {
    for_groups(machine, weight, rounded, y, machine.codes.multiply_few);
  } else {
    multiply_code_panels(machine, weight, rounded, y);
  }
}

}  // namespace rotulus::kernels::cpu

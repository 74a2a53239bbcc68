// The kernels of one row; kernel_table.h says what each does. Every row has its own, in the namespace ROTULUS_ROW that
// CMakeLists.txt defines for its objects.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu::ROTULUS_ROW {

void unpack_panel(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel);
void multiply_panel(const PanelProduct& product);
void prepare_decode(WeightType type, const float* x, std::size_t columns, float* prepared);
void decode(const DecodeProduct& product);

void norm(const float* x, const float* weight, float epsilon, std::size_t count, float* y);
void add(const float* x, std::size_t count, float* into);
void silu_multiply(const float* gate, const float* up, std::size_t count, float* y);
void gelu_multiply(const float* gate, const float* up, std::size_t count, float* y);
void soft_cap(float cap, std::size_t count, float* x);
void rope_table(double position, const double* inverse_frequencies, std::size_t pairs, float* cosines, float* sines);
void rotate(const Rotation& rotation, const float* x, float* y);
void encode_f16(const float* x, std::size_t count, std::uint16_t* y);

void fold_stripe(const FoldStripe& fold);
void scale(const float* x, float factor, std::size_t count, float* y);
void log_sums(const float* max, const float* sum, std::size_t count, float* lse);
void merge_weights(const float* lse_a, const float* lse_b, std::size_t count, const MergeWeights& into);
void blend(const float* a, float a_weight, const float* b, float b_weight, std::size_t count, float* y);

void score_block(const ScoreBlock& task);
float sum_scores(const float* scores, std::size_t count);
void raise_votes(const float* scores, float lse, std::size_t count, float* votes);

}  // namespace rotulus::kernels::cpu::ROTULUS_ROW

// The CPU backend: checks shapes, cuts verbs into pieces for the pool, and calls the inner kernels of one ISA row.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/attend.h"

namespace rotulus::kernels::cpu {

class CpuBackend final : public Backend {
 public:
  // What one row of kernels provides; bf16 in that arithmetic only, nullptr otherwise.
  struct Row {
    const KernelTable& table;
    const CodeKernels& codes;
    const Bf16Kernels* bf16;
  };
  CpuBackend(const Row& row, Arithmetic arithmetic, std::size_t thread_count);

  const std::string& numerics_id() const override { return numerics_id_; }
  std::size_t thread_count() const override { return pool_.thread_count(); }
  std::unique_ptr<Stream> make_stream() override;
  std::unique_ptr<Buffer> allocate(std::size_t bytes, MemoryKind kind) override;
  std::unique_ptr<PackedWeight> pack(const WeightSource& source) override;
  void matmul(Stream&, Role role, const PackedWeight& weight, ConstMatrix x, Matrix y) override;
  void embed(Stream&, const WeightSource& table, std::span<const std::uint32_t> ids, Matrix y) override;
  void norm(Stream&, ConstMatrix x, std::span<const float> weight, float epsilon, Matrix y) override;
  void add(Stream&, ConstMatrix x, Matrix into) override;
  void scale(Stream&, float factor, Matrix x) override;
  void soft_cap(Stream&, float cap, Matrix x) override;
  void silu_multiply(Stream&, ConstMatrix gate, ConstMatrix up, Matrix y) override;
  void gelu_multiply(Stream&, ConstMatrix gate, ConstMatrix up, Matrix y) override;
  void rotate(Stream&, const Rope& rope, std::uint32_t heads, std::span<const std::int64_t> positions,
              Matrix x) override;
  void append(Stream&, const KvFormat& format, ConstMatrix keys, ConstMatrix values, std::uint32_t first_row,
              std::byte* block) override;
  void attend(Stream&, const AttendTask& task) override;
  void merge(Stream&, const MergeTask& task) override;
  void summarize(Stream&, const KvFormat& format, const Rope& rope, std::int64_t first_position, const std::byte* block,
                 std::byte* landmarks, std::byte* bounds) override;
  void cluster(Stream&, const KvFormat& format, const Rope& rope, std::int64_t first_position,
               std::span<const std::byte* const> blocks, std::byte* centroids) override;
  void score(Stream&, const ScoreTask& task) override;
  void bound(Stream&, const BoundTask& task) override;
  void merge_sums(Stream&, std::size_t count, std::span<const LaneSpan> nodes, std::span<const float* const> parts,
                  float* into) override;
  void vote(Stream&, const VoteTask& task) override;
  void sum_pages(Stream&, const PageSumTask& task) override;
  void count_share(Stream&, std::span<const float> logs, float total, float share, std::size_t& count) override;

 private:
  // y = activation(gate) * up, by a kernel of the table.
  void multiply_gated(void (*kernel)(const float*, const float*, std::size_t, float*), ConstMatrix gate, ConstMatrix up,
                      Matrix y);
  // Calls task(row) for each row, over the pool where there is enough to do.
  template <typename RowTask>
  void for_rows(std::size_t rows, std::size_t columns, const RowTask& task);

  Arithmetic arithmetic_;
  std::string numerics_id_;
  ThreadPool pool_;
  Machine machine_;
};

}  // namespace rotulus::kernels::cpu

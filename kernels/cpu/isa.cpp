// The rows of the CPU backend and which of them this machine runs.
#include <stdexcept>

#include "kernels/cpu/cpu_backend.h"

namespace rotulus::kernels {
namespace {

bool machine_runs_avx512() {
#ifdef ROTULUS_HAS_AVX512
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

bool machine_runs_avx2() {
#ifdef ROTULUS_HAS_AVX2
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

const cpu::KernelTable& table_of(Isa isa) {
#ifdef ROTULUS_HAS_AVX2
  if (isa == Isa::avx2) return cpu::avx2::kernel_table();
#endif
#ifdef ROTULUS_HAS_AVX512
  if (isa == Isa::avx512) return cpu::avx512::kernel_table();
#endif
  (void)isa;
  return cpu::scalar::kernel_table();
}

// The AVX-512 row without VNNI takes the products of the AVX2 row: the bits are the same.
const cpu::CodeKernels& code_kernels_of(Isa isa) {
#ifdef ROTULUS_HAS_AVX512
  if (isa == Isa::avx512 && __builtin_cpu_supports("avx512vnni")) return cpu::avx512_code_kernels();
#endif
#ifdef ROTULUS_HAS_AVX2
  if (isa == Isa::avx512 || isa == Isa::avx2) return cpu::avx2_code_kernels();
#endif
  (void)isa;
  return cpu::scalar_code_kernels();
}

const cpu::Bf16Kernels* bf16_kernels_of(Isa isa) {
#ifdef ROTULUS_HAS_AVX512
  if (isa == Isa::avx512 && __builtin_cpu_supports("avx512bf16")) return &cpu::avx512_bf16_kernels();
#endif
  throw std::invalid_argument("the ISA row \"" + to_string(isa) +
                              "\" has no products in bf16 on this machine: they take AVX-512 with BF16");
}

}  // namespace

std::string to_string(Isa isa) {
  switch (isa) {
    case Isa::automatic:
      return "automatic";
    case Isa::scalar:
      return "scalar";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "?";
}

bool parse_isa(const std::string& name, Isa& isa) {
  for (const Isa candidate : {Isa::automatic, Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (name != to_string(candidate)) continue;
    isa = candidate;
    return true;
  }
  return false;
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas{Isa::scalar};
  if (machine_runs_avx2()) isas.push_back(Isa::avx2);
  if (machine_runs_avx512()) isas.push_back(Isa::avx512);
  return isas;
}

std::string to_string(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::f32:
      return "f32";
    case Arithmetic::bf16:
      return "bf16";
    case Arithmetic::int8:
      return "int8";
  }
  return "?";
}

std::unique_ptr<Backend> make_cpu_backend(Isa isa, std::size_t thread_count, Arithmetic arithmetic) {
  const std::vector<Isa> isas = supported_isas();
  if (isa == Isa::automatic) isa = isas.back();
  for (const Isa supported : isas) {
    if (supported != isa) continue;
    const cpu::CpuBackend::Row row{table_of(isa), code_kernels_of(isa),
                                   arithmetic == Arithmetic::bf16 ? bf16_kernels_of(isa) : nullptr};
    return std::make_unique<cpu::CpuBackend>(row, arithmetic, thread_count);
  }
  throw std::invalid_argument("this machine cannot run the ISA row \"" + to_string(isa) + "\"");
}

}  // namespace rotulus::kernels

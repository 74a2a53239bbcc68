// rotulus-dequantize TYPE ROWS COLUMNS: reads a weight as a GGUF file holds it from standard input and writes float32
// rows to standard output, once as embed() gives them and once as a prefill product with the identity does. For
// tests/oracle.
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include "kernels/backend.h"

namespace rotulus::kernels {
namespace {

std::optional<WeightType> parse_type(std::string_view name) {
  for (int number = 0; number <= static_cast<int>(WeightType::mxfp4); ++number) {
    if (to_string(static_cast<WeightType>(number)) == name) return static_cast<WeightType>(number);
  }
  return std::nullopt;
}

std::vector<float> embedded(Backend& backend, const WeightSource& weight) {
  std::vector<float> rows(weight.rows * weight.columns);
  std::vector<std::uint32_t> ids(weight.rows);
  std::iota(ids.begin(), ids.end(), 0u);
  const auto stream = backend.make_stream();
  backend.embed(*stream, weight, ids, {rows.data(), weight.rows, weight.columns, weight.columns});
  stream->wait();
  return rows;
}

std::vector<float> multiplied(Backend& backend, const WeightSource& weight) {
  const std::size_t n = weight.columns;
  std::vector<float> identity(n * n);
  for (std::size_t k = 0; k < n; ++k) identity[k * n + k] = 1.0f;
  std::vector<float> columns(n * weight.rows);
  const auto packed = backend.pack(weight);
  const auto stream = backend.make_stream();
  backend.matmul(*stream, Role::prefill, *packed, {identity.data(), n, n, n},
                 {columns.data(), n, weight.rows, weight.rows});
  stream->wait();
  std::vector<float> rows(columns.size());
  for (std::size_t k = 0; k < n; ++k) {
    for (std::size_t o = 0; o < weight.rows; ++o) rows[o * n + k] = columns[k * weight.rows + o];
  }
  return rows;
}

int run(WeightType type, std::size_t rows, std::size_t columns) {
  std::vector<std::byte> bytes(rows * weight_row_bytes(type, columns));
  if (std::fread(bytes.data(), 1, bytes.size(), stdin) != bytes.size()) return 1;
  const WeightSource weight{type, rows, columns, bytes};
  const auto backend = make_cpu_backend(Isa::automatic, 1);
  for (const auto& floats : {embedded(*backend, weight), multiplied(*backend, weight)}) {
    if (std::fwrite(floats.data(), sizeof(float), floats.size(), stdout) != floats.size()) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace rotulus::kernels

int main(int argc, char** argv) {
  using namespace rotulus::kernels;
  const auto type = argc == 4 ? parse_type(argv[1]) : std::nullopt;
  if (!type) {
    std::fputs("usage: rotulus-dequantize TYPE ROWS COLUMNS <weight >floats\n", stderr);
    return 2;
  }
  return run(*type, std::strtoul(argv[2], nullptr, 10), std::strtoul(argv[3], nullptr, 10));
}

#include "kernels/backend.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace rotulus::kernels {
namespace {

TEST(Backend, NamesItsNumericsByRow) {
  for (const Isa isa : supported_isas()) {
    const auto backend = make_cpu_backend(isa, 1);
    EXPECT_EQ(backend->numerics_id().rfind(to_string(isa) + ".f32.", 0), 0u) << backend->numerics_id();
  }
  EXPECT_EQ(make_cpu_backend(Isa::automatic, 1)->numerics_id(),
            make_cpu_backend(supported_isas().back(), 1)->numerics_id());
}

TEST(Backend, ReadsTheNamesOfRowsThatItPrints) {
  for (const Isa isa : {Isa::automatic, Isa::scalar, Isa::avx2, Isa::avx512}) {
    Isa parsed{};
    EXPECT_TRUE(parse_isa(to_string(isa), parsed));
    EXPECT_EQ(parsed, isa);
  }
  Isa untouched = Isa::scalar;
  EXPECT_FALSE(parse_isa("AVX512", untouched));
  EXPECT_EQ(untouched, Isa::scalar);
}

TEST(Backend, AlwaysHasTheScalarRow) {
  EXPECT_EQ(supported_isas().front(), Isa::scalar);
}

TEST(Backend, AllocatesZeroedAlignedMemory) {
  const auto backend = make_cpu_backend(Isa::scalar, 1);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4097}, std::size_t{5} << 20}) {
    const auto buffer = backend->allocate(bytes, MemoryKind::host);
    EXPECT_EQ(buffer->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 64, 0u);
    for (std::size_t i = 0; i < bytes; i += 61) ASSERT_EQ(buffer->data()[i], std::byte{0});
    if (bytes > 0) buffer->data()[bytes - 1] = std::byte{1};
  }
  EXPECT_THROW(backend->allocate(std::size_t{1} << 62, MemoryKind::host), std::bad_alloc);
}

TEST(Backend, HasNoCudaWhereItIsNotBuilt) {
  EXPECT_EQ(make_cuda_backend(), nullptr);
}

TEST(BackendDeathTest, ChecksShapesAndPrintsThem) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto backend = make_cpu_backend(Isa::scalar, 1);
  const auto stream = backend->make_stream();
  float values[8] = {};
  EXPECT_DEATH(backend->add(*stream, {values, 1, 3, 3}, {values, 1, 4, 4}), "a.columns.*1, 3, 1, 4");
}

// Objects of an ISA row are built for instructions that other machines lack. A weak symbol in one (an inline function,
// a template of the standard library) could be the copy that the linker keeps for everyone.
TEST(IsaObjects, DefineNoWeakSymbols) {
  const std::string command = "nm -C " ROTULUS_ISA_OBJECTS " 2>&1";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  ASSERT_NE(pipe, nullptr);
  std::size_t functions = 0;
  char line[4096];
  while (std::fgets(line, sizeof line, pipe.get()) != nullptr) {
    const std::string text(line);
    EXPECT_EQ(text.find("No such file"), std::string::npos) << text;
    if (text.size() < 19) continue;
    const char kind = text[17];
    if (kind == 'T') ++functions;
    const bool is_sanitizers_own = text.find("asan") != std::string::npos || text.find("ubsan") != std::string::npos;
    EXPECT_TRUE((kind != 'W' && kind != 'V' && kind != 'u') || is_sanitizers_own) << text;
  }
  EXPECT_GE(functions, 14u * supported_isas().size());  // the kernels of each row and its table
}

}  // namespace
}  // namespace rotulus::kernels

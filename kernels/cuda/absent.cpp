// Stands in where the project is built without CUDA.
#include "kernels/backend.h"

namespace rotulus::kernels {

std::unique_ptr<Backend> make_cuda_backend() {
  return nullptr;
}

}  // namespace rotulus::kernels

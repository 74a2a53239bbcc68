// Stands in for nccl_transport.cpp where the project is configured without CUDA and NCCL.
#include "worker/parallel/transport.h"

namespace rotulus::worker {

std::unique_ptr<Transport> make_nccl_transport() {
  return nullptr;
}

}  // namespace rotulus::worker

#pragma once

namespace rotulus::kernels::cpu {

// Stands for a mask that lets everything pass; select() costs nothing then.
struct AllLanes {};

}  // namespace rotulus::kernels::cpu

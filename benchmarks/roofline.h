// The limits of this machine, measured (kernels/rates.h): what the figures of the kernels are a share of.
//
// A limit and the figure it divides are taken in the same run, alternating, because the clock of a shared machine
// moves.
#pragma once

#include <vector>

#include "kernels/rates.h"

namespace rotulus::benchmarks {

using kernels::ReadBandwidth;

// Seconds. thread_seconds counts the calling thread's CPU time only, so other processes do not disturb it.
double wall_seconds();
double thread_seconds();

double fma_flops_per_second();

double median(std::vector<double> values);

}  // namespace rotulus::benchmarks

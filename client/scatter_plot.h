// Points with names, as an SVG: a share over a cost.
#pragma once

#include <string>
#include <vector>

namespace rotulus::client {

struct PlotPoint {
  double cost = 0;
  double share = 0;  // 0 to 1
  std::string name;
};

// `cost` names the horizontal axis, with its unit. Names are kept apart where points are near each other.
std::string scatter_plot(const std::string& title, const std::string& cost, std::vector<PlotPoint> points);

}  // namespace rotulus::client

#include "client/scatter_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace rotulus::client {
namespace {

constexpr double kWidth = 640, kHeight = 400, kLeft = 50, kTop = 40;
constexpr double kRight = kWidth - 120, kBottom = kHeight - 50;  // names stand beside the points
constexpr double kNameHeight = 12, kNameWidth = 110;

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char letter : text) {
    if (letter == '&')
      safe += "&amp;";
    else if (letter == '<')
      safe += "&lt;";
    else
      safe += letter;
  }
  return safe;
}

}  // namespace

std::string scatter_plot(const std::string& title, const std::string& cost, std::vector<PlotPoint> points) {
  std::sort(points.begin(), points.end(), [](const PlotPoint& left, const PlotPoint& right) {
    return std::tie(left.share, left.cost, left.name) < std::tie(right.share, right.cost, right.name);
  });
  double most = 0;
  for (const PlotPoint& point : points) most = std::max(most, point.cost);
  std::string svg = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" font-family="sans-serif" font-size="11">
<rect width="{0}" height="{1}" fill="#fff"/>
<text x="{2}" y="18" font-size="13">{3}</text>
<path d="M{2} {4}V{5}H{6}" fill="none" stroke="#888"/>
<text x="{6}" y="{7}" text-anchor="end">{8}, to {9:.4g}</text>
)",
      kWidth, kHeight, kLeft, escaped(title), kTop, kBottom, kRight, kBottom + 30, escaped(cost), most);
  for (const double share : {0.0, 0.5, 1.0}) {
    svg += fmt::format("<text x=\"{}\" y=\"{:.0f}\" text-anchor=\"end\">{:.0f} %</text>\n", kLeft - 6,
                       kBottom - (kBottom - kTop) * share + 4, 100 * share);
  }
  std::vector<std::pair<double, double>> names;
  for (const PlotPoint& point : points) {
    const double x = kLeft + (most > 0 ? (kRight - kLeft) * point.cost / most : 0);
    const double y = kBottom - (kBottom - kTop) * point.share;
    double line = y + 4;
    const auto is_taken = [&](const auto& name) {
      return std::abs(name.first - x) < kNameWidth && std::abs(name.second - line) < kNameHeight;
    };
    while (std::any_of(names.begin(), names.end(), is_taken)) line -= kNameHeight;
    names.emplace_back(x, line);
    svg += fmt::format(
        "<circle cx=\"{:.0f}\" cy=\"{:.0f}\" r=\"4\" fill=\"#2563a8\"/>\n<text x=\"{:.0f}\" y=\"{:.0f}\">{}</text>\n",
        x, y, x + 7, line, escaped(point.name));
  }
  return svg + "</svg>\n";
}

}  // namespace rotulus::client

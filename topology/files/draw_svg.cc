// The SVG drawing (draw.h). Columns: one for each card and NIC, in the order of the PCIe forest.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "topology/files/draw.h"

namespace basalt::topology {
namespace {

constexpr double kWidth = 800;
constexpr double kMargin = 16;
constexpr double kNicColumn = 0.62;  // of a card's
constexpr double kCardHeight = 40;
constexpr double kBarHeight = 26;
constexpr double kBarGap = 8;
constexpr double kArcStep = 22;  // how much higher a link that spans one column more is drawn

constexpr const char* kStyle = R"(<style>
svg{--bg:#ffffff;--ink:#1b1f24;--soft:#57606a;--card:#dbeafe;--edge:#2563eb;--taken:#e5e7eb;
--chosen:#fde68a;--bar:#f3f4f6;--line:#9ca3af;--fabric:#0f766e;--nic:#f5e1f7;background:var(--bg)}
@media(prefers-color-scheme:dark){svg{--bg:#14171c;--ink:#e6e8eb;--soft:#a3abb5;--card:#1e3a5f;
--edge:#7db2ff;--taken:#30343b;--chosen:#6b5310;--bar:#23272e;--line:#6b7480;--fabric:#4fd1c0;
--nic:#46304b}}
text{font-family:system-ui,sans-serif;font-size:12px;fill:var(--ink);text-anchor:middle}
.s{font-size:11px;fill:var(--soft)}.l{text-anchor:start}.t{font-size:15px;font-weight:600}
.bg{fill:var(--bg)}.card{fill:var(--card);stroke:var(--edge)}.taken{fill:var(--taken);
stroke:var(--line);stroke-dasharray:4 3}.chosen{fill:var(--chosen);stroke:var(--edge);stroke-width:2.5}
.nic{fill:var(--nic);stroke:var(--line)}.bar{fill:var(--bar);stroke:var(--line)}
.wire{stroke:var(--line);fill:none}.fabric{stroke:var(--fabric);fill:none}
.sw{fill:none;stroke:var(--fabric);stroke-width:1.5}.tag{fill:var(--bg);opacity:.85}
</style>
)";

std::size_t Index(int i) { return static_cast<std::size_t>(i); }

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

// About as wide as a letter of the drawings' small text.
std::string Fitting(const std::vector<std::string>& texts, double width) {
  for (const std::string& text : texts) {
    if (static_cast<double>(text.size()) * 7.4 <= width) return text;
  }
  return texts.back();
}

class Drawing {
 public:
  Drawing(const MachineGraph& graph, const DrawOptions& options)
      : graph_(graph),
        options_(options),
        left_(graph.vertices.size(), 0),
        right_(graph.vertices.size(), 0) {
    nodes_ = PcieForest(graph, &roots_);
  }

  std::string Draw();

 private:
  const Vertex& vertex(int v) const { return graph_.vertices[Index(v)]; }
  bool IsLeaf(int v) const {
    return vertex(v).kind == VertexKind::kCard || vertex(v).kind == VertexKind::kNic;
  }
  double Middle(int v) const { return (left_[Index(v)] + right_[Index(v)]) / 2; }
  // Gives every card and NIC a column and every bar the columns above it; false when there is none.
  bool Place(int at, double* x);
  double Columns(int at) const;
  void Text(double x, double y, const std::string& text, const char* style = "") {
    body_ +=
        fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\"{}>{}</text>\n", x, y, style, Escaped(text));
  }
  void Box(double x, double y, double w, double h, const char* style) {
    body_ += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"4\" "
        "class=\"{}\"/>\n",
        x, y, w, h, style);
  }
  void Line(double x1, double y1, double x2, double y2, const char* style, double width = 1) {
    body_ += fmt::format(
        "<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" class=\"{}\" "
        "stroke-width=\"{:.1f}\"/>\n",
        x1, y1, x2, y2, style, width);
  }
  void DrawSwitches();
  void DrawLinks();
  void DrawLeaf(int v, std::int32_t mbps);
  void DrawBars();
  void DrawSockets();
  double FabricWidth(std::int64_t mbps) const {
    if (widest_ == narrowest_) return 1.8;
    return 1.2 + 4.0 * static_cast<double>(mbps) / static_cast<double>(widest_);
  }

  const MachineGraph& graph_;
  const DrawOptions& options_;
  std::vector<TreeNode> nodes_;
  std::vector<int> roots_;
  std::vector<double> left_, right_;  // by vertex
  std::vector<char> shown_ = std::vector<char>(graph_.vertices.size(), 0);
  double column_ = 0;
  double y_ = 0;             // how far down the drawing has come
  double cards_ = 0;         // top of the cards
  std::int64_t widest_ = 1;  // fabric links
  std::int64_t narrowest_ = 1;
  std::string body_;
};

double Drawing::Columns(int at) const {
  const TreeNode& node = nodes_[Index(at)];
  double sum = 0;
  if (IsLeaf(node.vertex)) sum = vertex(node.vertex).kind == VertexKind::kCard ? 1 : kNicColumn;
  for (const int child : node.children) sum += Columns(child);
  return sum;
}

bool Drawing::Place(int at, double* x) {
  const TreeNode& node = nodes_[Index(at)];
  const std::size_t v = Index(node.vertex);
  left_[v] = *x;
  bool any = IsLeaf(node.vertex);
  if (any) *x += column_ * (vertex(node.vertex).kind == VertexKind::kCard ? 1 : kNicColumn);
  right_[v] = *x;
  for (const int child : node.children) any = Place(child, x) || any;
  if (!IsLeaf(node.vertex)) right_[v] = *x;
  shown_[v] = any ? 1 : 0;
  return any;
}

void Drawing::DrawSwitches() {
  const std::vector<int> switches = graph_.Of(VertexKind::kFabricSwitch);
  const Eigen::VectorXi into = graph_.SwitchedFabric();
  if (switches.empty() || into.size() == 0 || into.maxCoeff() <= 0) return;
  double from = kWidth;
  double to = 0;
  for (int card = 0; card < graph_.cards(); ++card) {
    if (into(card) <= 0) continue;
    from = std::min(from, left_[Index(card)]);
    to = std::max(to, right_[Index(card)]);
  }
  Box(from + 3, y_, to - from - 6, 30, "sw");
  const std::string count =
      fmt::format("{} fabric {}", switches.size(), switches.size() == 1 ? "switch" : "switches");
  const std::string reduces = graph_.in_network_reduction ? ", reduce in the network" : "";
  Text((from + to) / 2, y_ + 19,
       Fitting({graph_.fabric + " " + count + reduces, count}, to - from));
  const double top = y_ + 30;
  y_ += 74;
  for (int card = 0; card < graph_.cards(); ++card) {
    if (into(card) <= 0) continue;
    // Lines end at the cards' top, which direct links may still move down.
    body_ += fmt::format(
        "<path d=\"M{:.1f} {:.1f}V@CARDS@\" class=\"fabric\" "
        "stroke-width=\"{:.1f}\"/>\n",
        Middle(card), top, FabricWidth(into(card)));
    const std::string text = GigaBytes(into(card));
    const double width = static_cast<double>(text.size()) * 6.6 + 6;
    Box(Middle(card) - width / 2, top + 12, width, 16, "tag");
    Text(Middle(card), top + 24, text);
  }
}

void Drawing::DrawLinks() {
  const Eigen::MatrixXi direct = graph_.DirectFabric();
  if (direct.size() == 0 || direct.maxCoeff() <= 0) return;
  std::vector<int> order;  // cards from left to right
  for (int card = 0; card < graph_.cards(); ++card) order.push_back(card);
  std::ranges::sort(order, {}, [&](int card) { return left_[Index(card)]; });
  std::set<int> different;
  int longest = 1;
  const int n = graph_.cards();
  for (int i = 0; i < n; ++i) {
    for (int j = i + 1; j < n; ++j) {
      const int mbps = direct(order[Index(i)], order[Index(j)]);
      if (mbps <= 0) continue;
      different.insert(mbps);
      longest = std::max(longest, j - i);
    }
  }
  y_ += 8 + kArcStep * (longest + 1);
  std::string labels;
  for (int i = 0; i < n; ++i) {
    for (int j = i + 1; j < n; ++j) {
      const int a = order[Index(i)];
      const int b = order[Index(j)];
      if (direct(a, b) <= 0) continue;
      const double height = kArcStep * (j - i + 0.6);
      // A cubic curve comes up to three quarters of its handles' height.
      body_ += fmt::format(
          "<path d=\"M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}\" class=\"fabric\" "
          "stroke-width=\"{:.1f}\"><title>{} - {}: {} GB/s</title></path>\n",
          Middle(a), y_, Middle(a), y_ - height * 4 / 3, Middle(b), y_ - height * 4 / 3, Middle(b),
          y_, FabricWidth(direct(a, b)), Escaped(vertex(a).name), Escaped(vertex(b).name),
          GigaBytes(direct(a, b)));
      if (different.size() == 1) continue;
      const std::string text = GigaBytes(direct(a, b));
      const double width = static_cast<double>(text.size()) * 6.6 + 4;
      const double x = (Middle(a) + Middle(b)) / 2;
      labels += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"14\" "
          "class=\"tag\"/><text x=\"{:.1f}\" y=\"{:.1f}\" class=\"s\">{}</text>\n",
          x - width / 2, y_ - height - 7, width, x, y_ - height + 4, text);
    }
  }
  body_ += labels;
  if (different.size() == 1) {
    Text(kMargin, y_ - kArcStep * (longest + 1),
         fmt::format("{}: {} GB/s each line", graph_.fabric.empty() ? "links" : graph_.fabric,
                     GigaBytes(*different.begin())),
         " class=\"s l\"");
  }
}

void Drawing::DrawLeaf(int v, std::int32_t mbps) {
  const double width = right_[Index(v)] - left_[Index(v)];
  const bool card = vertex(v).kind == VertexKind::kCard;
  const char* style =
      !card ? "nic"
            : (options_.chosen.Has(v) ? "chosen" : (options_.free.Has(v) ? "card" : "taken"));
  Box(left_[Index(v)] + 2, cards_, width - 4, kCardHeight, style);
  const std::string speed =
      vertex(v).nic_mbps > 0 ? fmt::format("{}G", vertex(v).nic_mbps * 8 / 1000) : "NIC";
  const std::string number = card ? std::to_string(v) : "N";
  Text(Middle(v), cards_ + 17, Fitting({vertex(v).name, number}, width - 8));
  const std::string below = card ? (mbps > 0 ? GigaBytes(mbps) : "") : speed;
  Text(Middle(v), cards_ + 33, Fitting({below, ""}, width - 2), " class=\"s\"");
}

void Drawing::DrawBars() {
  int deepest = 0;
  for (const TreeNode& node : nodes_) {
    if (!IsLeaf(node.vertex) && shown_[Index(node.vertex)] != 0)
      deepest = std::max(deepest, node.depth);
  }
  const auto top_of = [&](int depth) {
    return cards_ + kCardHeight + 10 + (deepest - depth) * (kBarHeight + kBarGap);
  };
  for (const TreeNode& node : nodes_) {
    if (shown_[Index(node.vertex)] == 0) continue;
    for (const int at : node.children) {
      const TreeNode& child = nodes_[Index(at)];
      if (shown_[Index(child.vertex)] == 0) continue;
      // From what is above down to this bar (a card's own NIC hangs on the card: no bar).
      if (IsLeaf(node.vertex)) {
        Line(right_[Index(node.vertex)] - 3, cards_ + kCardHeight / 2,
             left_[Index(child.vertex)] + 3, cards_ + kCardHeight / 2, "wire", 2);
        continue;
      }
      const double from =
          IsLeaf(child.vertex) ? cards_ + kCardHeight : top_of(child.depth) + kBarHeight;
      Line(Middle(child.vertex), from, Middle(child.vertex), top_of(node.depth), "wire", 2);
    }
  }
  for (const TreeNode& node : nodes_) {
    const int v = node.vertex;
    if (shown_[Index(v)] == 0) continue;
    if (IsLeaf(v)) {
      DrawLeaf(v, node.mbps);
      continue;
    }
    const double width = right_[Index(v)] - left_[Index(v)] - 6;
    Box(left_[Index(v)] + 3, top_of(node.depth), width, kBarHeight, "bar");
    const std::string up = node.mbps > 0 ? GigaBytes(node.mbps) : "";
    Text(Middle(v), top_of(node.depth) + 17,
         Fitting({vertex(v).name + (up.empty() ? "" : ", " + up + " up"), vertex(v).name + " " + up,
                  up.empty() ? std::to_string(vertex(v).numa) : up},
                 width));
  }
  y_ = top_of(0) + kBarHeight;
}

void Drawing::DrawSockets() {
  std::set<std::int32_t> speeds;
  int links = 0;
  for (const Link& link : graph_.links) {
    if (link.kind != LinkKind::kSocket) continue;
    ++links;
    speeds.insert(link.mbps);
  }
  if (links == 0) return;
  if (links > 1) {  // many: in words
    std::string text = fmt::format("{} links between NUMA nodes, ", links);
    text += speeds.size() == 1
                ? GigaBytes(*speeds.begin()) + " GB/s each"
                : GigaBytes(*speeds.begin()) + " to " + GigaBytes(*speeds.rbegin()) + " GB/s";
    y_ += 24;
    Text(kWidth / 2, y_, text, " class=\"s\"");
    return;
  }
  for (const Link& link : graph_.links) {
    if (link.kind != LinkKind::kSocket || shown_[Index(link.a)] == 0 || shown_[Index(link.b)] == 0)
      continue;
    body_ += fmt::format(
        "<path d=\"M{:.1f} {:.1f}v12H{:.1f}v-12\" class=\"wire\" "
        "stroke-width=\"2\"/>\n",
        Middle(link.a), y_, Middle(link.b));
    Text((Middle(link.a) + Middle(link.b)) / 2, y_ + 28,
         GigaBytes(link.mbps) + " GB/s between the NUMA nodes", " class=\"s\"");
    y_ += 30;
  }
}

std::string Drawing::Draw() {
  double columns = 0;
  int gaps = 0;
  for (const int root : roots_) {
    columns += Columns(root);
    gaps += Columns(root) > 0 ? 1 : 0;
  }
  constexpr double kGap = 8;  // between the trees
  const double room = kWidth - 2 * kMargin - kGap * std::max(0, gaps - 1);
  column_ = std::min(110.0, columns > 0 ? room / columns : room);
  double x = kMargin + (room - column_ * columns) / 2;
  for (const int root : roots_) {
    if (Place(root, &x)) x += kGap;
  }
  const Eigen::MatrixXi direct = graph_.DirectFabric();
  const Eigen::VectorXi into = graph_.SwitchedFabric();
  std::set<std::int64_t> speeds;
  for (Eigen::Index i = 0; i < direct.size(); ++i) speeds.insert(direct(i));
  for (const int mbps : into) speeds.insert(mbps);
  speeds.erase(0);
  if (!speeds.empty()) {
    narrowest_ = *speeds.begin();
    widest_ = *speeds.rbegin();
  }
  y_ = 24;
  const std::string title = graph_.name.empty() ? "machine" : graph_.name;
  Text(kMargin, y_, title, " class=\"l t\"");
  Text(kWidth - kMargin, y_, "GB/s, one way", " class=\"s\" style=\"text-anchor:end\"");
  y_ += 16;
  DrawSwitches();
  DrawLinks();
  cards_ = y_;
  DrawBars();
  DrawSockets();
  y_ += 16;
  const std::string place = "@CARDS@";
  for (std::size_t at = body_.find(place); at != std::string::npos; at = body_.find(place, at)) {
    body_.replace(at, place.size(), fmt::format("{:.1f}", cards_));
  }
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
             "width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\">\n<title>{2}</title>\n",
             kWidth, y_, Escaped(title)) +
         kStyle +
         fmt::format("<rect width=\"{:.0f}\" height=\"{:.0f}\" class=\"bg\"/>\n", kWidth, y_) +
         body_ + "</svg>\n";
}

}  // namespace

std::string DrawSvg(const MachineGraph& graph, const DrawOptions& options) {
  return Drawing(graph, options).Draw();
}

}  // namespace basalt::topology

#include "traces/orders.h"

#include <algorithm>
#include <limits>
#include <string>

#include "traces/diagnostics.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

// Takes one line off the text, without its LF or CRLF.
std::string_view TakeLine(std::string_view* text) {
  const std::size_t end = text->find('\n');
  std::string_view line = text->substr(0, end);
  text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

class NumberLine {
 public:
  NumberLine(const std::string& name, std::size_t line_number, std::string_view line)
      : name_(name), line_number_(line_number), line_(line) {}

  // Calls use(value, begin) for each number; `bound` is one more than the largest allowed.
  template <class Use>
  Status ForEach(std::size_t bound, std::string_view what, Use use) {
    std::size_t at = 0;
    while (at < line_.size()) {
      const std::size_t begin = at;
      std::uint64_t value = 0;
      while (at < line_.size() && line_[at] >= '0' && line_[at] <= '9') {
        value = value * 10 + static_cast<std::uint64_t>(line_[at++] - '0');
        if (value > std::numeric_limits<std::uint32_t>::max()) break;
      }
      const bool ends = at == line_.size() || line_[at] == ' ';
      if (at == begin || (!ends && value < bound)) {
        return At(begin, "not a whole number; write numbers with one space between them");
      }
      if (value >= bound) {
        return At(begin,
                  std::string(what) + ' ' +
                      std::string(line_.substr(begin, std::min<std::size_t>(at - begin, 20))) +
                      " is out of range; there are " + std::to_string(bound) +
                      ", counted from 0. Does the order belong to this list?");
      }
      if (Status used = use(static_cast<std::uint32_t>(value), begin); !used) return used;
      if (at == line_.size()) return {};
      if (++at == line_.size()) return At(at - 1, "a space at the end of the line; remove it");
    }
    return {};
  }
  Status At(std::size_t offset, std::string message) const {
    return Fail(trace::At(name_, line_number_, offset + 1), std::move(message));
  }

 private:
  const std::string& name_;
  std::size_t line_number_;
  std::string_view line_;
};

}  // namespace

Result<ArrivalOrder> ParseArrivalOrder(const std::string& name, std::string_view text,
                                       std::size_t node_count, std::size_t pod_count) {
  Diagnostics diagnostics;
  if (!CheckText(name, &text, &diagnostics)) return tl::unexpected(diagnostics.ToError());
  if (!text.starts_with('#')) {
    return Fail(At(name, 1, 1),
                "the first line must be a comment that starts with #; is this an "
                "arrival order?");
  }
  TakeLine(&text);
  ArrivalOrder order;
  order.node_rank.reserve(std::min(node_count, text.size() / 2 + 1));
  constexpr std::uint32_t kFree = std::numeric_limits<std::uint32_t>::max();
  const std::string_view ranks = TakeLine(&text);
  // No line holds more numbers than half its bytes: do not allocate for ones that are not there.
  if (ranks.size() / 2 + 1 < node_count) {
    return Fail(At(name, 2, 1), "fewer ranks than the node list's " + std::to_string(node_count) +
                                    " rows; does the order belong to this list?");
  }
  std::vector<std::uint32_t> holder(node_count, kFree);
  NumberLine rank_line(name, 2, ranks);
  const Status ranked =
      rank_line.ForEach(node_count, "rank", [&](std::uint32_t rank, std::size_t at) -> Status {
        if (holder[rank] != kFree) {
          return rank_line.At(at, "rank " + std::to_string(rank) + " is already that of node row " +
                                      std::to_string(holder[rank]) + "; ranks must be unique");
        }
        holder[rank] = static_cast<std::uint32_t>(order.node_rank.size());
        order.node_rank.push_back(rank);
        return {};
      });
  if (!ranked) return tl::unexpected(ranked.error());
  if (order.node_rank.size() != node_count) {
    return Fail(At(name, 2, 1), std::to_string(order.node_rank.size()) +
                                    " ranks, but the node list has " + std::to_string(node_count) +
                                    " rows; does the order belong to this list?");
  }
  const std::string_view arrivals = TakeLine(&text);
  order.pods.reserve(arrivals.size() / 4 + 1);
  NumberLine pod_line(name, 3, arrivals);
  const Status arrived =
      pod_line.ForEach(pod_count, "pod row", [&](std::uint32_t row, std::size_t) -> Status {
        order.pods.push_back(row);
        return {};
      });
  if (!arrived) return tl::unexpected(arrived.error());
  if (order.pods.empty()) {
    return Fail(At(name, 3, 1), "no arrivals; line 3 must list rows of the pod list");
  }
  for (std::size_t line = 4; !text.empty(); ++line) {
    if (!TakeLine(&text).empty()) {
      return Fail(At(name, line, 1), "text after the arrival order; the file has three lines");
    }
  }
  return order;
}

Result<ArrivalOrder> ReadArrivalOrder(const std::string& path, std::size_t node_count,
                                      std::size_t pod_count) {
  const Result<std::string> text = ReadText(path);
  if (!text) return tl::unexpected(text.error());
  return ParseArrivalOrder(path, *text, node_count, pod_count);
}

}  // namespace basalt::trace

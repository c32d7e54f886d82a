#include "traces/diagnostics.h"

#include <algorithm>
#include <utility>

namespace basalt::trace {

void Diagnostics::Add(std::string where, std::string message) {
  ++total;
  if (errors.size() < kMaxErrors) errors.push_back({std::move(where), std::move(message)});
}

void Diagnostics::Append(Diagnostics other) {
  total += other.total;
  for (Error& error : other.errors) {
    if (errors.size() == kMaxErrors) break;
    errors.push_back(std::move(error));
  }
}

std::string Diagnostics::ToString() const {
  std::string out;
  for (const Error& error : errors) {
    if (!out.empty()) out += '\n';
    out += error.ToString();
  }
  if (total > errors.size()) {
    const std::size_t more = total - errors.size();
    out += "\n... and " + std::to_string(more) + (more == 1 ? " more error" : " more errors");
  }
  return out;
}

Error Diagnostics::ToError() const {
  const std::string all = ToString();
  const Error& first = errors.front();
  return {first.where, all.substr(first.where.empty() ? 0 : first.where.size() + 2)};
}

}  // namespace basalt::trace

#include "test/support/node_choices.h"

#include <algorithm>

namespace basalt::support {

std::shared_ptr<const NodeChoice> NamedChoice::In(const Engine& engine) const {
  return ChoiceOf(engine.state(), NodeNames{excluded, only});
}

bool NamedChoice::Allows(const std::string& node) const {
  const auto in = [&node](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), node) != names.end();
  };
  return (only.empty() || in(only)) && !in(excluded);
}

NamedChoice DrawChoice(Rng& rng, const Engine& engine) {
  NamedChoice choice;
  const std::uint32_t kind = rng.Below(6);
  const auto pick = [&](std::vector<std::string>* into, std::uint32_t one_in) {
    for (const NodeId node : engine.state().order()) {
      for (std::uint32_t n = rng.Below(one_in) == 0 ? 1 + rng.Below(2) : 0; n > 0; --n) {
        into->push_back(engine.state().name(node));
      }
    }
    if (rng.Below(4) == 0) into->push_back("gone");
  };
  if (kind == 1 || kind == 4) pick(&choice.excluded, 2);
  if (kind == 2) pick(&choice.excluded, 4);
  if (kind == 3 || kind == 4) pick(&choice.only, 3);
  return choice;
}

}  // namespace basalt::support

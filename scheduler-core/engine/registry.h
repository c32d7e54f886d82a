// The placement policies by name. A Registry is a value that its owner fills
// (policies/builtin.cc is the one list); there is no self-registration, which a static library
// would drop silently.
//
// A policy expression names what to run: "fgd", "binpack/spread" (node rule / card rule),
// "pwr:0.1+fgd:0.9" (weighted blend), "class-quota(T4=0.5)/best", "spread-job(fgd)".
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/policy.h"

namespace basalt {

struct ConfiguredPolicy {
  std::string expression;  // as written
  std::shared_ptr<const PlacementPolicy> policy;
  CardRule card_rule = CardRule::kBest;
};

class Registry {
 public:
  // `argument` is what stands in the parentheses, empty without.
  using Factory = std::function<Result<std::shared_ptr<const PlacementPolicy>>(
      const Registry& registry, std::string_view argument)>;
  // How weighted policies are joined; set once by the list of policies.
  using Weighted = std::vector<std::pair<std::shared_ptr<const PlacementPolicy>, double>>;
  using BlendFactory =
      std::function<Result<std::shared_ptr<const PlacementPolicy>>(Weighted components)>;

  // A name twice is a programming error and stops the process.
  void Add(std::string name, std::string help, Factory factory);
  void SetBlend(BlendFactory factory) { blend_ = std::move(factory); }

  Result<ConfiguredPolicy> Configure(std::string_view expression) const;
  Result<std::shared_ptr<const PlacementPolicy>> Make(std::string_view expression) const;

  struct Listed {
    std::string name;
    std::string help;
  };
  std::vector<Listed> list() const;

 private:
  struct Entry {
    std::string help;
    Factory factory;
  };
  Result<std::shared_ptr<const PlacementPolicy>> MakeOne(std::string_view term) const;
  std::map<std::string, Entry, std::less<>> entries_;
  BlendFactory blend_;
};

Result<CardRule> ParseCardRule(std::string_view name);

}  // namespace basalt

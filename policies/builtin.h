// The one list of placement policies. Adding one: a file in this folder that defines its factory,
// a declaration here, a line in builtin.cc.
#pragma once

#include <memory>
#include <string_view>

#include "scheduler-core/engine/registry.h"

namespace basalt {

void RegisterBuiltinPolicies(Registry& registry);

namespace policies {

using Made = Result<std::shared_ptr<const PlacementPolicy>>;

Made MakeBestFit(const Registry&, std::string_view argument);
Made MakeBinpack(const Registry&, std::string_view argument);
Made MakeSpread(const Registry&, std::string_view argument);
Made MakeClassQuota(const Registry&, std::string_view argument);
Made MakeDotProduct(const Registry&, std::string_view argument);
Made MakeFgd(const Registry&, std::string_view argument);
Made MakeGpuClustering(const Registry&, std::string_view argument);
Made MakeGpuPacking(const Registry&, std::string_view argument);
Made MakeNodeTopology(const Registry&, std::string_view argument);
Made MakePwr(const Registry&, std::string_view argument);
Made MakeRandom(const Registry&, std::string_view argument);
Made MakeSpreadJob(const Registry&, std::string_view argument);
Made MakeTaskTopology(const Registry&, std::string_view argument);
Made MakeBlend(Registry::Weighted components);

// The error for a policy that takes no argument but was given one.
Result<void> RefuseArgument(std::string_view name, std::string_view argument);

}  // namespace policies
}  // namespace basalt

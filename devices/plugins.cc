#include "devices/plugins.h"

#include <algorithm>
#include <set>
#include <utility>

#include "devices/registration.h"

namespace basalt::devices {
namespace {

// Which platforms may serve the vendor, with the names by which each counts cards.
std::set<std::pair<std::string, std::string>> NamesOf(const Vendor& vendor) {
  std::set<std::pair<std::string, std::string>> out;
  for (const Interface& interface : vendor.interfaces) {
    out.emplace(interface.platform, interface.count);
  }
  for (const auto& [resource, platform] : CountedNames(vendor.name)) {
    out.emplace(platform, resource);
  }
  return out;
}

std::set<std::string> PlatformsOf(const Vendor& vendor) {
  std::set<std::string> out;
  for (const auto& [platform, name] : NamesOf(vendor)) out.insert(platform);
  return out;
}

bool AsksWholeCards(const RequestSpec& spec) {
  const auto whole = [](const auto& ask) {
    return ask.gpu_milli == kWholeCard && ask.gpu_memory_mib == 0 &&
           (ask.gpu_memory_percent == 0 || ask.gpu_memory_percent == 100);
  };
  if (!spec.mig_profile.empty()) return false;
  const bool by_container = std::ranges::any_of(spec.containers, &ContainerSpec::asks_card);
  return by_container
             ? std::ranges::all_of(spec.containers,
                                   [&](const ContainerSpec& c) { return c.gpus == 0 || whole(c); })
             : whole(spec);
}

std::string Key(const std::string& vendor, const std::string& platform) {
  return "basalt.io/" + vendor + "-by-" + platform;
}

}  // namespace

std::string PluginTaint(const Catalog& catalog, const std::string& vendor,
                        const std::string& platform) {
  const Vendor* known = FindVendor(catalog, vendor);
  if (known == nullptr || PlatformsOf(*known).size() < 2) return "";
  return Key(vendor, platform);
}

std::vector<std::string> PluginTolerations(const Catalog& catalog, const PodRequest& request) {
  std::vector<std::string> out;
  for (const Vendor& vendor : catalog.vendors) {
    const auto names = NamesOf(vendor);
    const std::set<std::string> platforms = PlatformsOf(vendor);
    if (platforms.size() < 2) continue;
    const auto asked = std::ranges::find(vendor.interfaces, request.interface, &Interface::name);
    for (const std::string& platform : platforms) {
      const bool understood = asked == vendor.interfaces.end() || asked->platform == platform ||
                              (!asked->count.empty() && AsksWholeCards(request.spec) &&
                               names.contains({platform, asked->count}));
      if (understood) out.push_back(Key(vendor.name, platform));
    }
  }
  std::ranges::sort(out);
  return out;
}

}  // namespace basalt::devices

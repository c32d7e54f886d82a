#include "cli/platform_fit.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/platform/empty_nodes.h"

namespace basalt::cli {
namespace {

bool Wanted(const sim::ServiceSpec& s) { return s.to_us > s.from_us; }
bool Wanted(const sim::SandboxSpec& s) { return s.users > 0; }
bool Wanted(const sim::TrainingSpec& s) { return s.jobs_per_hour > 0; }
bool Wanted(const sim::VmSpec& s) { return s.vms_per_hour > 0 || s.at_start > 0; }

std::string ArmsText(const std::vector<std::string>& arms) {
  constexpr std::size_t kShown = 4;
  std::string text = arms.size() == 1 ? "arm " : "arms ";
  for (std::size_t i = 0; i < std::min(arms.size(), kShown); ++i) {
    text += fmt::format("{}\"{}\"", i > 0 ? ", " : "", arms[i]);
  }
  if (arms.size() > kShown) text += fmt::format(" and {} more", arms.size() - kShown);
  return text;
}

}  // namespace

Status FitCheck::Add(const config::Document& document, const PlatformEntry& entry,
                     const sim::PlatformSpec& spec, const Registry& registry) {
  auto nodes = sim::EmptyNodes::Create(spec, registry);
  if (!nodes) return tl::unexpected<Error>(nodes.error());
  const auto request_of = [&](const sim::OfferSpec& offer) {
    for (const sim::SkuSpec& sku : spec.skus) {
      if (!offer.sku.empty() && sku.name == offer.sku) return sku.request;
    }
    return offer.request;
  };
  const auto look = [&](const char* section, std::size_t i, const auto& work) {
    if (!Wanted(work)) return;
    const YAML::Node at = document.root[section][i];
    const std::string name = at["name"].Scalar();
    Found& found = found_[{section, name}];
    if (found.arms++ == 0) {
      found.file = document.file;
      found.name = name;
      found.at.reset(at["name"]);
    }
    const auto add = [&](Refused* refused, const std::string& why) {
      if (refused->arms.empty()) refused->why = why;
      refused->arms.push_back(spec.name);
    };
    std::vector<std::pair<std::string, std::string>> refused;
    for (std::size_t o = 0; o < work.offers.size(); ++o) {
      const sim::OfferSpec& offer = work.offers[o];
      std::string why = nodes->WhyNever(request_of(offer), work.working_set_mib, work.places);
      if (why.empty()) continue;
      refused.emplace_back(offer.sku.empty() ? fmt::format("offer {}", o + 1)
                                             : fmt::format("offer {} (sku {})", o + 1, offer.sku),
                           std::move(why));
    }
    if (!refused.empty() && refused.size() == work.offers.size()) {
      std::string why;
      for (const auto& [offer, reason] : refused) {
        why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", offer, reason);
      }
      return add(&found.all, why);
    }
    for (const auto& [offer, reason] : refused) add(&found.offers[offer], reason);
  };
  // A service stands as often as its count says, all alike.
  std::size_t service = 0;
  for (std::size_t i = 0; i < entry.services.size(); ++i) {
    look("services", i, spec.services[service]);
    service += static_cast<std::size_t>(entry.services[i].count);
  }
  for (std::size_t i = 0; i < spec.sandboxes.size(); ++i) look("sandboxes", i, spec.sandboxes[i]);
  for (std::size_t i = 0; i < spec.training.size(); ++i) look("training", i, spec.training[i]);
  for (std::size_t i = 0; i < spec.vms.size(); ++i) look("vms", i, spec.vms[i]);
  return {};
}

void FitCheck::Finish(config::Errors* errors, std::vector<std::string>* warnings) const {
  for (const auto& entry : found_) {
    const Found& found = entry.second;
    const auto warn = [&](std::string text) {
      config::Errors line;
      line.Add(found.file, found.at, std::move(text));
      warnings->push_back(line.list().front().ToString());
    };
    if (!found.all.arms.empty()) {
      if (found.all.arms.size() == found.arms) {
        errors->Add(found.file, found.at,
                    fmt::format("\"{}\" can never run: {}; make an offer smaller, or name places "
                                "whose nodes have such cards",
                                found.name, found.all.why));
        continue;
      }
      warn(fmt::format("\"{}\" can never run in {}: {}", found.name, ArmsText(found.all.arms),
                       found.all.why));
    }
    for (const auto& [offer, refused] : found.offers) {
      warn(fmt::format("{} of \"{}\" can never be taken in {}: {}", offer, found.name,
                       ArmsText(refused.arms), refused.why));
    }
  }
}

}  // namespace basalt::cli

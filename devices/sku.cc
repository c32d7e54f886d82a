#include "devices/sku.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "devices/resources.h"
#include "scheduler-core/base/suggest.h"
#include "scheduler-core/config/options.h"
#include "topology/card_set.h"

namespace basalt::devices {
namespace {

using config::OptionTable;

struct SkuRow {
  std::string name, help, service_class, mig_profile;
  std::string currency = "USD";
  std::int64_t gpus = 0, gpu_milli = 0, gpu_memory_mib = 0, gpu_memory_percent = 0;
  std::int64_t compute_units = 0, cpu_milli = 0, memory_mib = 0, price_milli_per_hour = 0;
  std::vector<std::string> models, vendors;
};
struct FileRow {
  std::vector<std::pair<SkuRow, YAML::Node>> skus;
};

config::OptionInfo Amount(std::string name, std::string help, std::string unit, double high,
                          bool required = false) {
  return {.name = std::move(name),
          .help = std::move(help),
          .default_value = "0",
          .unit = std::move(unit),
          .low = 0,
          .high = high,
          .required = required};
}

const OptionTable<SkuRow>& Keys() {
  static const auto table =
      OptionTable<SkuRow>()
          .Text({.name = "name", .help = "unique in the file", .required = true}, &SkuRow::name)
          .Text({.name = "help", .help = "what it is, in one line"}, &SkuRow::help)
          .Integer(Amount("gpus", "cards", "", kMaxCardsPerNode), &SkuRow::gpus)
          .Integer(Amount("gpu_milli", "compute on each card, 1000 is a whole one", "", kWholeCard),
                   &SkuRow::gpu_milli)
          .Integer(Amount("compute_units", "or compute on each card in TFLOPS", "", 1e6),
                   &SkuRow::compute_units)
          .Integer(Amount("gpu_memory_mib", "memory on each card", "MiB", 1e9),
                   &SkuRow::gpu_memory_mib)
          .Integer(Amount("gpu_memory_percent", "or percent of each card's memory", "", 100),
                   &SkuRow::gpu_memory_percent)
          .TextList({.name = "models", .help = "allowed card models", .default_value = "any"},
                    &SkuRow::models)
          .TextList({.name = "vendors", .help = "allowed vendors", .default_value = "any"},
                    &SkuRow::vendors)
          .Text({.name = "mig_profile", .help = "this MIG profile"}, &SkuRow::mig_profile)
          .Text({.name = "service_class",
                 .help = "guaranteed, burstable or best-effort",
                 .default_value = "guaranteed"},
                &SkuRow::service_class)
          .Integer(Amount("cpu_milli", "CPU", "milli-cores", 1e9), &SkuRow::cpu_milli)
          .Integer(Amount("memory_mib", "host memory", "MiB", 1e9), &SkuRow::memory_mib)
          .Integer(Amount("price_milli_per_hour", "price of an hour", "thousandths of the currency",
                          1e12, true),
                   &SkuRow::price_milli_per_hour)
          .Text({.name = "currency", .help = "of the price", .default_value = "USD"},
                &SkuRow::currency);
  return table;
}

const OptionTable<FileRow>& FileKeys() {
  static const auto table = OptionTable<FileRow>().Custom(
      {.name = "skus", .help = "the bundles", .type = "list of maps", .required = true},
      [](const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
         FileRow* out, config::Errors* errors) {
        if (!config::CheckList(file, node, option, errors)) return;
        for (const YAML::Node& item : node) {
          SkuRow row;
          Keys().Parse(file, item, &row, errors);
          out->skus.emplace_back(std::move(row), item);
        }
      });
  return table;
}

// Whether any model that the SKU allows is large enough and has the MIG profile. Its models and
// vendors are the catalog's.
Status CheckCards(const Catalog& catalog, const RequestSpec& spec, const std::string& where) {
  if (Status ok = CheckSelection(catalog, spec, where); !ok) return ok;
  MiB largest = 0;
  std::vector<std::string> profiles;
  for (const Vendor& vendor : catalog.vendors) {
    if (!spec.vendors.empty() && std::ranges::find(spec.vendors, vendor.name) == spec.vendors.end())
      continue;
    for (const CardModel& model : vendor.models) {
      if (!spec.models.empty() && std::ranges::find(spec.models, model.name) == spec.models.end()) {
        continue;
      }
      largest = std::max(largest, model.capacity_mib);
      for (const MigProfile& profile : model.rules.mig) profiles.push_back(profile.name);
    }
  }
  if (spec.gpu_memory_mib > largest) {
    return Fail(where, fmt::format("{} MiB on a card; the largest that it allows has {}",
                                   spec.gpu_memory_mib, largest));
  }
  if (spec.mig_profile.empty() || std::ranges::find(profiles, spec.mig_profile) != profiles.end()) {
    return {};
  }
  std::ranges::sort(profiles);
  const auto again = std::ranges::unique(profiles);
  profiles.erase(again.begin(), again.end());
  return Fail(where, profiles.empty()
                         ? "no model that it allows has MIG profiles"
                         : "unknown MIG profile " + SuggestText(spec.mig_profile, profiles));
}

}  // namespace

Result<std::vector<Sku>> ParseSkus(const Catalog& catalog, const std::string& file,
                                   const std::string& text) {
  const auto document = config::ParseYaml(file, text);
  if (!document) return tl::unexpected<Error>(document.error());
  config::Errors errors;
  FileRow row;
  FileKeys().Parse(file, document->root, &row, &errors);
  std::vector<std::string> vendors;
  for (const Vendor& vendor : catalog.vendors) vendors.push_back(vendor.name);
  std::vector<Sku> skus;
  for (const auto& [r, node] : row.skus) {
    if (r.name.empty()) continue;  // reported already
    Sku sku{.name = r.name, .help = r.help};
    RequestSpec& spec = sku.request;
    spec.cpu_milli = r.cpu_milli;
    spec.memory_mib = r.memory_mib;
    spec.gpus = static_cast<std::int32_t>(r.gpus);
    spec.gpu_milli = static_cast<MilliGpu>(r.gpu_milli);
    spec.gpu_memory_mib = r.gpu_memory_mib;
    spec.gpu_memory_percent = static_cast<std::int32_t>(r.gpu_memory_percent);
    spec.compute_units = static_cast<std::int32_t>(r.compute_units);
    spec.mig_profile = r.mig_profile;
    bool all_known = true;
    for (const std::string& name : r.models) {
      const CardModel* known = FindModel(catalog, name);
      if (known == nullptr) {
        errors.Add(file, node, UnknownModel(catalog, name));
        all_known = false;
      } else {
        spec.models.push_back(known->name);
      }
    }
    for (const std::string& vendor : r.vendors) {
      if (std::ranges::find(vendors, vendor) == vendors.end()) {
        errors.Add(file, node, "unknown vendor " + SuggestText(vendor, vendors));
        all_known = false;
      }
      spec.vendors.push_back(vendor);
    }
    if (!r.service_class.empty()) {
      const auto parsed = ParseServiceClass(r.service_class);
      if (parsed) {
        spec.service_class = *parsed;
      } else {
        errors.Add(file, node, parsed.error().message);
      }
    }
    sku.price_milli_per_hour = r.price_milli_per_hour;
    sku.currency = r.currency;
    if (const Status ok = ValidateRequest(spec, "SKU " + r.name); !ok) {
      errors.Add(file, node, ok.error().ToString());
    }
    if (all_known) {
      const Status ok = CheckCards(catalog, spec, "SKU " + r.name);
      if (!ok) errors.Add(file, node, ok.error().ToString());
    }
    if (std::ranges::find(skus, sku.name, &Sku::name) != skus.end()) {
      errors.Add(file, node, fmt::format("SKU \"{}\" stands twice", sku.name.substr(0, 80)));
    }
    skus.push_back(std::move(sku));
  }
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  return skus;
}

Result<Sku> FindSku(const std::vector<Sku>& skus, const std::string& name) {
  std::vector<std::string> names;
  for (const Sku& sku : skus) {
    if (sku.name == name) return sku;
    names.push_back(sku.name);
  }
  return Fail("", "unknown SKU " + SuggestText(name, names));
}

std::string SkuKeys() { return config::ReferenceTable(Keys().infos()); }

}  // namespace basalt::devices

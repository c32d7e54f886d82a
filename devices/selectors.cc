#include "devices/selectors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>

#include "scheduler-core/base/suggest.h"

namespace basalt::devices {
namespace {

// The items of a comma list, trimmed; empty ones are left out.
std::vector<std::string> Items(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    if (!item.empty()) items.emplace_back(item);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::vector<std::string> ListOf(const Annotations& annotations, std::string_view key) {
  const auto at = annotations.find(std::string(key));
  return at == annotations.end() ? std::vector<std::string>() : Items(at->second);
}

bool TypeMatches(const CardModel& model, const std::vector<std::string>& parts) {
  std::vector<std::string> names = model.aliases;
  names.push_back(model.name);
  return std::ranges::any_of(parts, [&](const std::string& part) {
    return std::ranges::any_of(names, [&](const std::string& name) {
      return Lower(name).find(Lower(part)) != std::string::npos;
    });
  });
}

std::string AnnotationPlace(std::string_view key) { return "annotation " + std::string(key); }

// What the allowed UUIDs so far and the key's list both allow; either may be empty: any.
Status AllowUuids(const Annotations& annotations, const std::string& key,
                  std::vector<std::string>* allowed) {
  const std::vector<std::string> list = ListOf(annotations, key);
  if (list.empty()) return {};
  if (allowed->empty()) {
    *allowed = list;
    return {};
  }
  std::erase_if(*allowed, [&](const std::string& uuid) {
    return std::ranges::find(list, uuid) == list.end();
  });
  if (!allowed->empty()) return {};
  return Fail(AnnotationPlace(key),
              "allows no card that the pod's other annotations allow; name one that all allow");
}

std::vector<std::string> NamesOf(const std::vector<const CardModel*>& models) {
  std::vector<std::string> names;
  for (const CardModel* model : models) names.push_back(model->name);
  return names;
}

// The catalog's names of the models that an annotation lists.
Result<std::vector<std::string>> KnownModels(const Catalog& catalog, const Annotations& annotations,
                                             std::string_view key) {
  std::vector<std::string> models;
  for (const std::string& name : ListOf(annotations, key)) {
    const CardModel* known = FindModel(catalog, name);
    if (known == nullptr) return Fail(AnnotationPlace(key), UnknownModel(catalog, name));
    models.push_back(known->name);
  }
  return models;
}

// Annotations of Basalt's own whose names are nearly known ones.
Status RefuseMistypedKeys(const Annotations& annotations) {
  constexpr std::string_view kDomain = "basalt.io/";
  std::vector<std::string> known;
  for (const std::string_view key :
       {kVendorsKey, kModelsKey, kNouseModelsKey, kUseUuidsKey, kNouseUuidsKey, kServiceClassKey,
        kMigProfileKey, kPassthroughKey}) {
    known.emplace_back(key.substr(kDomain.size()));
  }
  for (const auto& [key, text] : annotations) {
    if (!key.starts_with(kDomain)) continue;
    const std::string name = key.substr(kDomain.size());
    if (std::ranges::find(known, name) != known.end()) continue;
    const std::string near = NearestName(name, known);
    if (near.empty()) continue;
    return Fail(AnnotationPlace(key.substr(0, 80)),
                fmt::format("is unknown; did you mean \"{}{}\"?", kDomain, near));
  }
  return {};
}

}  // namespace

Status ReadSelectors(const Offer& offer, const Annotations& annotations,
                     const std::vector<std::string>& models, RequestSpec* spec) {
  const Interface& interface = offer.interface;
  std::vector<const CardModel*> allowed = offer.models;
  bool restricted = offer.some_models || !models.empty();
  if (!models.empty()) {
    std::erase_if(allowed, [&](const CardModel* m) {
      return std::ranges::find(models, m->name) == models.end();
    });
  }
  for (const std::string& key : interface.use_type) {
    const std::vector<std::string> parts = ListOf(annotations, key);
    if (parts.empty()) continue;
    restricted = true;
    std::erase_if(allowed, [&](const CardModel* m) { return !TypeMatches(*m, parts); });
    if (allowed.empty()) {
      const std::string near = NearestName(parts.front(), NamesOf(offer.models));
      return Fail(AnnotationPlace(key),
                  fmt::format("\"{}\": no model of the catalog has such a type; {}add it to a "
                              "catalog file",
                              fmt::join(parts, ","),
                              near.empty() ? near : "did you mean \"" + near + "\"? Else "));
    }
  }
  for (const std::string& key : interface.nouse_type) {
    const std::vector<std::string> parts = ListOf(annotations, key);
    if (parts.empty()) continue;
    for (const CardModel* m : offer.models) {
      if (TypeMatches(*m, parts)) spec->nouse_models.push_back(m->name);
    }
    std::erase_if(allowed, [&](const CardModel* m) { return TypeMatches(*m, parts); });
    if (allowed.empty()) {
      return Fail(AnnotationPlace(key), "leaves no model; allow one");
    }
  }
  spec->vendors = {interface.vendor};
  if (restricted) {
    for (const CardModel* m : allowed) spec->models.push_back(m->name);
  }
  for (const std::string& key : interface.use_uuid) {
    if (Status ok = AllowUuids(annotations, key, &spec->use_uuids); !ok) return ok;
  }
  for (const std::string& key : interface.nouse_uuid) {
    for (std::string& uuid : ListOf(annotations, key)) {
      spec->nouse_uuids.push_back(std::move(uuid));
    }
  }
  if (interface.qos_key.empty()) return {};
  const auto at = annotations.find(interface.qos_key);
  spec->qos = at == annotations.end() ? interface.qos_default : at->second;
  if (std::ranges::find(interface.qos_values, spec->qos) == interface.qos_values.end()) {
    return Fail(AnnotationPlace(interface.qos_key),
                "unknown class " + SuggestText(spec->qos, interface.qos_values));
  }
  return {};
}

Status ReadOwnAnnotations(const Catalog& catalog, const Annotations& annotations, bool neutral,
                          RequestSpec* spec) {
  if (Status ok = RefuseMistypedKeys(annotations); !ok) return ok;
  const std::vector<std::string> vendors = ListOf(annotations, kVendorsKey);
  if (!vendors.empty()) {
    if (!neutral) {
      return Fail(
          AnnotationPlace(kVendorsKey),
          "the pod asks under one vendor's names already; ask for " + std::string(kNeutralCards));
    }
    std::vector<std::string> names;
    for (const Vendor& vendor : catalog.vendors) names.push_back(vendor.name);
    for (const std::string& vendor : vendors) {
      if (std::ranges::find(names, vendor) == names.end()) {
        return Fail(AnnotationPlace(kVendorsKey), "unknown vendor " + SuggestText(vendor, names));
      }
    }
    spec->vendors = vendors;
  }
  auto models = KnownModels(catalog, annotations, kModelsKey);
  if (!models) return tl::unexpected<Error>(models.error());
  if (!models->empty()) {
    if (!spec->models.empty()) {  // the vendor's names and annotations allow only some, too
      std::erase_if(*models, [&](const std::string& model) {
        return std::ranges::find(spec->models, model) == spec->models.end();
      });
    }
    if (models->empty()) {
      return Fail(AnnotationPlace(kModelsKey),
                  fmt::format("allows no model that the pod's other names and annotations allow "
                              "({}); allow one of them",
                              fmt::join(spec->models, ", ")));
    }
    spec->models = *std::move(models);
  }
  const auto nouse = KnownModels(catalog, annotations, kNouseModelsKey);
  if (!nouse) return tl::unexpected<Error>(nouse.error());
  spec->nouse_models.insert(spec->nouse_models.end(), nouse->begin(), nouse->end());
  if (Status ok = AllowUuids(annotations, std::string(kUseUuidsKey), &spec->use_uuids); !ok) {
    return ok;
  }
  for (std::string& uuid : ListOf(annotations, kNouseUuidsKey)) spec->nouse_uuids.push_back(uuid);
  if (const auto at = annotations.find(std::string(kServiceClassKey)); at != annotations.end()) {
    const auto parsed = ParseServiceClass(at->second);
    if (!parsed) return Fail(AnnotationPlace(kServiceClassKey), parsed.error().message);
    spec->service_class = *parsed;
  }
  if (const auto at = annotations.find(std::string(kPassthroughKey)); at != annotations.end()) {
    if (at->second != "true" && at->second != "false") {
      return Fail(AnnotationPlace(kPassthroughKey), "write true or false");
    }
    spec->passthrough = at->second == "true";
  }
  if (const auto at = annotations.find(std::string(kMigProfileKey)); at != annotations.end()) {
    spec->mig_profile = at->second;
  }
  return {};
}

std::string UnknownModel(const Catalog& catalog, const std::string& name) {
  std::vector<std::string> names;
  for (const Vendor& vendor : catalog.vendors) {
    for (const CardModel& model : vendor.models) {
      names.push_back(model.name);
      names.insert(names.end(), model.aliases.begin(), model.aliases.end());
    }
  }
  const std::string near = NearestName(name, names);
  return fmt::format("unknown model \"{}\"; {}add it to a catalog file", name.substr(0, 80),
                     near.empty() ? near : "did you mean \"" + near + "\"? Else ");
}

Status CheckSelection(const Catalog& catalog, const RequestSpec& spec, const std::string& where) {
  const auto excluded = [](const std::vector<std::string>& list, const std::string& name) {
    return std::ranges::find(list, name) != list.end();
  };
  if (!spec.use_uuids.empty() && std::ranges::all_of(spec.use_uuids, [&](const std::string& uuid) {
        return excluded(spec.nouse_uuids, uuid);
      })) {
    return Fail(where, "every card that is allowed by UUID is also excluded (" +
                           spec.use_uuids.front() + "); leave one");
  }
  if (spec.models.empty() && spec.vendors.empty()) return {};
  std::string first;
  for (const Vendor& vendor : catalog.vendors) {
    const bool allowed = spec.vendors.empty() || excluded(spec.vendors, vendor.name);
    if (!allowed && spec.models.empty()) continue;
    for (const CardModel& model : vendor.models) {
      if (!spec.models.empty() && !excluded(spec.models, model.name)) continue;
      if (allowed && !excluded(spec.nouse_models, model.name)) return {};
      if (first.empty()) first = model.name;
    }
  }
  // A model that the catalog does not have may be on a node, but has no vendor.
  for (const std::string& model : spec.models) {
    if (spec.vendors.empty() && FindModel(catalog, model) == nullptr &&
        !excluded(spec.nouse_models, model)) {
      return {};
    }
  }
  return Fail(where, fmt::format("every model that is allowed is also excluded, by name or by "
                                 "vendor{}; leave one",
                                 first.empty() ? first : " (" + first + ")"));
}

}  // namespace basalt::devices

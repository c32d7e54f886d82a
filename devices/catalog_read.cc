// Reading a vendor's file: option tables, so that every fault has its place.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "devices/assignment.h"
#include "devices/catalog.h"
#include "scheduler-core/base/suggest.h"
#include "scheduler-core/config/options.h"

namespace basalt::devices {
namespace {

using config::Errors;
using config::OptionInfo;
using config::OptionTable;

// "yes" or "no".
template <class T>
typename OptionTable<T>::Read Flag(bool T::* field) {
  return [field](const std::string& file, const YAML::Node& node, const OptionInfo& option, T* out,
                 Errors* errors) {
    std::string text;
    if (!config::ReadText(file, node, option, &text, errors)) return;
    if (text != "yes" && text != "no" && text != "true" && text != "false") {
      errors->Add(file, node, option.name + " must be yes or no");
    }
    out->*field = text == "yes" || text == "true";
  };
}
OptionInfo FlagInfo(std::string name, std::string help) {
  return {
      .name = std::move(name), .help = std::move(help), .type = "yes or no", .default_value = "no"};
}

// One of a few names.
template <class T, class E>
typename OptionTable<T>::Read Choice(E T::* field, std::vector<std::pair<std::string, E>> choices) {
  return [field, choices = std::move(choices)](const std::string& file, const YAML::Node& node,
                                               const OptionInfo& option, T* out, Errors* errors) {
    std::string text;
    if (!config::ReadText(file, node, option, &text, errors)) return;
    std::vector<std::string> names;
    for (const auto& [name, value] : choices) {
      if (name == text) {
        out->*field = value;
        return;
      }
      names.push_back(name);
    }
    errors->Add(file, node, "unknown " + option.name + " " + SuggestText(text, names));
  };
}

template <class T, class I>
typename OptionTable<T>::Read Integers(std::vector<I> T::* field) {
  return [field](const std::string& file, const YAML::Node& node, const OptionInfo& option, T* out,
                 Errors* errors) {
    if (!config::CheckList(file, node, option, errors)) return;
    for (const YAML::Node& item : node) {
      std::int64_t value = 0;
      if (config::ReadInteger(file, item, option, &value, errors)) {
        (out->*field).push_back(static_cast<I>(value));
      }
    }
  };
}

// Text that may be empty, such as a template that starts with nothing.
template <class T>
typename OptionTable<T>::Read AnyText(std::string T::* field) {
  return [field](const std::string& file, const YAML::Node& node, const OptionInfo& option, T* out,
                 Errors* errors) {
    if (!node.IsScalar()) {
      errors->Add(file, node, option.name + " must be text");
      return;
    }
    out->*field = node.Scalar();
  };
}

struct TemplateRow {
  std::string name;
  std::int64_t memory_mib = 0, compute_milli = 0, slots = 0;
};
struct MigRow {
  std::string name;
  std::int64_t memory_mib = 0, compute_milli = 0, size = 0;
  std::vector<std::int32_t> starts;
  bool media = false;
};
struct LayoutRow {
  std::string profile;
  std::int64_t start = 0;
};
struct ModelRow {
  std::string name, help, word;
  std::vector<std::string> aliases, short_names;
  std::int64_t memory_mib = 0, capacity_mib = 0, compute_units = 0, cores = 0;
  std::int64_t memory_unit_mib = 1, compute_parts = kWholeCard, group_size = 0, mig_slots = 0;
  std::vector<TemplateRow> templates;
  std::vector<MigRow> mig;
  std::vector<LayoutRow> mig_layout;
  std::vector<std::int32_t> counts;
  std::vector<MiB> memory_sizes;
  bool equal_slices = false, whole_when_several = false, one_qos = false;
  CardGrouping grouping = CardGrouping::kNone;
  YAML::Node at;  // for messages
};
struct FileRow {
  std::string vendor, help;
  std::vector<ModelRow> models;
  std::vector<Interface> interfaces;
  std::vector<ModelResource> model_resources;
};

constexpr double kMaxMib = 1e9;

const OptionTable<TemplateRow>& TemplateKeys() {
  static const auto table =
      OptionTable<TemplateRow>()
          .Text({.name = "name", .help = "as the vendor calls it", .required = true},
                &TemplateRow::name)
          .Integer({.name = "memory_mib",
                    .help = "memory",
                    .unit = "MiB",
                    .low = 1,
                    .high = kMaxMib,
                    .required = true},
                   &TemplateRow::memory_mib)
          .Integer({.name = "compute_milli",
                    .help = "compute, 1000 is the card",
                    .low = 1,
                    .high = 1000,
                    .required = true},
                   &TemplateRow::compute_milli)
          .Integer({.name = "slots",
                    .help = "how many slots it is, where the plugin counts them",
                    .default_value = "0",
                    .low = 0,
                    .high = 64},
                   &TemplateRow::slots);
  return table;
}

const OptionTable<MigRow>& MigKeys() {
  static const auto table =
      OptionTable<MigRow>()
          .Text({.name = "name", .help = "profile, as 1g.10gb", .required = true}, &MigRow::name)
          .Integer({.name = "memory_mib",
                    .help = "memory",
                    .unit = "MiB",
                    .low = 1,
                    .high = kMaxMib,
                    .required = true},
                   &MigRow::memory_mib)
          .Integer({.name = "compute_milli",
                    .help = "its compute slices of the card's, rounded down",
                    .low = 1,
                    .high = 1000,
                    .required = true},
                   &MigRow::compute_milli)
          .Integer({.name = "size",
                    .help = "memory slots",
                    .low = 1,
                    .high = kMaxMigSlots,
                    .required = true},
                   &MigRow::size)
          .Custom({.name = "starts",
                   .help = "the slots where it may begin",
                   .type = "list of integers",
                   .low = 0,
                   .high = kMaxMigSlots - 1,
                   .required = true},
                  Integers(&MigRow::starts))
          .Custom(FlagInfo("media", "has the media engines; one such instance a card"),
                  Flag(&MigRow::media));
  return table;
}

const OptionTable<LayoutRow>& LayoutKeys() {
  static const auto table =
      OptionTable<LayoutRow>()
          .Text({.name = "profile", .help = "a profile of the list", .required = true},
                &LayoutRow::profile)
          .Integer({.name = "start",
                    .help = "its first slot",
                    .low = 0,
                    .high = kMaxMigSlots - 1,
                    .required = true},
                   &LayoutRow::start);
  return table;
}

const OptionTable<ModelRow>& ModelKeys() {
  static const auto table =
      OptionTable<ModelRow>()
          .Text({.name = "model", .help = "as node lists spell it", .required = true},
                &ModelRow::name)
          .Text({.name = "help", .help = "what it is, in one line", .required = true},
                &ModelRow::help)
          .TextList({.name = "aliases", .help = "as drivers and plugins spell it"},
                    &ModelRow::aliases)
          .TextList({.name = "short_names", .help = "what resource names of the model end with"},
                    &ModelRow::short_names)
          .Text({.name = "word", .help = "its own part of resource names and annotations"},
                &ModelRow::word)
          .Integer({.name = "memory_mib",
                    .help = "memory that may be handed out",
                    .unit = "MiB",
                    .low = 1,
                    .high = kMaxMib,
                    .required = true},
                   &ModelRow::memory_mib)
          .Integer({.name = "capacity_mib",
                    .help = "the largest request that means the whole card",
                    .default_value = "memory_mib",
                    .unit = "MiB",
                    .low = 1,
                    .high = kMaxMib},
                   &ModelRow::capacity_mib)
          .Integer({.name = "compute_units",
                    .help = "dense FP16 TFLOPS, rounded down; 0: not published",
                    .default_value = "0",
                    .low = 0,
                    .high = 1e6},
                   &ModelRow::compute_units)
          .Integer({.name = "cores",
                    .help = "cores, where the plugin counts them",
                    .default_value = "0",
                    .low = 0,
                    .high = 1e6},
                   &ModelRow::cores)
          .Integer({.name = "memory_unit_mib",
                    .help = "slices are rounded up to this",
                    .default_value = "1",
                    .unit = "MiB",
                    .low = 1,
                    .high = kMaxMib},
                   &ModelRow::memory_unit_mib)
          .Custom({.name = "memory_sizes",
                   .help = "the only sizes of slices",
                   .type = "list of integers",
                   .default_value = "any",
                   .unit = "MiB",
                   .low = 1,
                   .high = kMaxMib},
                  Integers(&ModelRow::memory_sizes))
          .Integer({.name = "compute_parts",
                    .help = "the parts that compute is cut in",
                    .default_value = "1000",
                    .low = 1,
                    .high = 1000},
                   &ModelRow::compute_parts)
          .Maps({.name = "templates", .help = "slices that the vendor cuts, by memory"},
                &ModelRow::templates, TemplateKeys())
          .Custom(FlagInfo("equal_slices", "all slices of a card have one size"),
                  Flag(&ModelRow::equal_slices))
          .Custom(FlagInfo("several_whole", "several cards of a container are whole ones"),
                  Flag(&ModelRow::whole_when_several))
          .Custom(FlagInfo("one_qos", "a used card takes only slices of its QoS class"),
                  Flag(&ModelRow::one_qos))
          .Custom({.name = "counts",
                   .help = "how many cards a container may have",
                   .type = "list of integers",
                   .default_value = "any",
                   .low = 1,
                   .high = 64},
                  Integers(&ModelRow::counts))
          .Custom({.name = "grouping",
                   .help = "none, modules, fullest-group, smallest-group or wings",
                   .type = "text",
                   .default_value = "none"},
                  Choice(&ModelRow::grouping, {{"none", CardGrouping::kNone},
                                               {"modules", CardGrouping::kModules},
                                               {"fullest-group", CardGrouping::kFullestGroup},
                                               {"smallest-group", CardGrouping::kSmallestGroup},
                                               {"wings", CardGrouping::kWings}}))
          .Integer({.name = "group_size",
                    .help = "cards of a group, by index, where the node says nothing",
                    .default_value = "0",
                    .low = 0,
                    .high = 64},
                   &ModelRow::group_size)
          .Integer({.name = "mig_slots",
                    .help = "memory slots in MIG mode",
                    .default_value = "0",
                    .low = 0,
                    .high = kMaxMigSlots},
                   &ModelRow::mig_slots)
          .Maps({.name = "mig", .help = "MIG profiles"}, &ModelRow::mig, MigKeys())
          .Maps({.name = "mig_layout", .help = "the instances that cards were cut into beforehand"},
                &ModelRow::mig_layout, LayoutKeys());
  return table;
}

const OptionTable<AnnotationForm>& AnnotationKeys() {
  using F = AnnotationForm;
  static const auto table =
      OptionTable<F>()
          .Text({.name = "key", .help = "annotation or label", .required = true}, &F::key)
          .Custom({.name = "slice", .help = "text of a slice", .type = "text"}, AnyText(&F::slice))
          .Custom({.name = "whole_slice", .help = "of one that is a whole card", .type = "text"},
                  AnyText(&F::whole_slice))
          .Custom({.name = "slice_join", .help = "between slices", .type = "text"},
                  AnyText(&F::slice_join))
          .Custom({.name = "container",
                   .help = "text of a container",
                   .type = "text",
                   .default_value = "$slices"},
                  AnyText(&F::container))
          .Custom({.name = "container_join", .help = "between containers", .type = "text"},
                  AnyText(&F::container_join))
          .Custom({.name = "pod",
                   .help = "the whole text",
                   .type = "text",
                   .default_value = "$containers"},
                  AnyText(&F::pod))
          .Custom(FlagInfo("used_only", "without the containers that have no cards"),
                  Flag(&F::used_only))
          .Custom(FlagInfo("first_only", "only the first slice"), Flag(&F::first_only))
          .Custom(FlagInfo("mig_only", "only MIG slices; not written without one"),
                  Flag(&F::mig_only));
  return table;
}

const OptionTable<Interface>& InterfaceKeys() {
  using I = Interface;
  static const auto table =
      OptionTable<I>()
          .Text({.name = "interface", .help = "its name", .required = true}, &I::name)
          .Text({.name = "platform", .help = "hami, volcano or plugin", .required = true},
                &I::platform)
          .Custom({.name = "takes",
                   .help = "any, whole (cards only) or part",
                   .type = "text",
                   .default_value = "any"},
                  Choice(&I::takes,
                         {{"any", Takes::kAny}, {"whole", Takes::kWhole}, {"part", Takes::kPart}}))
          .TextList({.name = "models", .help = "models that it serves", .default_value = "all"},
                    &I::models)
          .Text({.name = "count", .help = "resource: cards"}, &I::count)
          .Text({.name = "memory", .help = "resource: memory on each card"}, &I::memory)
          .Text({.name = "percent", .help = "resource: percent of each card's memory"}, &I::percent)
          .Text({.name = "cores", .help = "resource: compute on each card"}, &I::cores)
          .Text({.name = "slots", .help = "resource: slots of a template, on one card"}, &I::slots)
          .Text({.name = "mig_prefix", .help = "resources that start so name a MIG profile"},
                &I::mig_prefix)
          .Integer({.name = "memory_unit_mib",
                    .help = "MiB of one unit of `memory`",
                    .default_value = "1",
                    .low = 1,
                    .high = 1e6},
                   &I::memory_unit_mib)
          .Custom(FlagInfo("memory_suffix_bytes", "`memory` with a suffix (4096Mi) is bytes"),
                  Flag(&I::memory_suffix_bytes))
          .Integer({.name = "memory_mib_above",
                    .help = "larger plain numbers in `memory` are MiB; 0: none",
                    .default_value = "0",
                    .low = 0,
                    .high = kMaxMib},
                   &I::memory_mib_above)
          .Custom({.name = "memory_values",
                   .help = "the only legal values of `memory`",
                   .type = "list of integers",
                   .default_value = "all",
                   .low = 1,
                   .high = kMaxMib},
                  Integers(&I::memory_values))
          .Integer({.name = "cores_per_card",
                    .help = "units of `cores` on a whole card; 0: the model's",
                    .default_value = "100",
                    .low = 0,
                    .high = 1000},
                   &I::cores_per_card)
          .Custom(FlagInfo("cores_percent", "`cores` is asked in percent, told in cores"),
                  Flag(&I::cores_percent))
          .Custom(FlagInfo("totals", "amounts are for all cards together"), Flag(&I::totals))
          .Custom(FlagInfo("several_whole", "several cards are whole ones, whatever is asked"),
                  Flag(&I::several_whole))
          .Integer({.name = "default_count",
                    .help = "cards when only amounts are asked; 0: an error",
                    .default_value = "0",
                    .low = 0,
                    .high = 64},
                   &I::default_count)
          .Integer({.name = "default_cores",
                    .help = "`cores` when not asked",
                    .default_value = "0",
                    .low = 0,
                    .high = 1000},
                   &I::default_cores)
          .Custom(FlagInfo("exclusive_alone", "no `cores` and all memory: whole cards"),
                  Flag(&I::exclusive_alone))
          .Custom(FlagInfo("percent_wins", "over `memory` when both are asked"),
                  Flag(&I::percent_wins))
          .Custom(FlagInfo("limits_only", "requests do not count"), Flag(&I::limits_only))
          .Custom({.name = "init_slots",
                   .help = "annotations have slots for init containers",
                   .type = "yes or no",
                   .default_value = "yes"},
                  Flag(&I::init_slots))
          .Text({.name = "mode_key", .help = "annotation that chooses this interface"},
                &I::mode_key)
          .Text({.name = "mode_value", .help = "and its value"}, &I::mode_value)
          .Text({.name = "qos_key", .help = "annotation with the QoS class"}, &I::qos_key)
          .Text({.name = "qos_default", .help = "the class when it is not there"}, &I::qos_default)
          .TextList({.name = "qos_values", .help = "the classes"}, &I::qos_values)
          .TextList({.name = "use_type", .help = "annotations: substrings of allowed types"},
                    &I::use_type)
          .TextList({.name = "nouse_type", .help = "annotations: of types to avoid"},
                    &I::nouse_type)
          .TextList({.name = "use_uuid", .help = "annotations: allowed cards"}, &I::use_uuid)
          .TextList({.name = "nouse_uuid", .help = "annotations: cards to avoid"}, &I::nouse_uuid)
          .Maps({.name = "annotations", .help = "what the plugin reads"}, &I::annotations,
                AnnotationKeys())
          .Maps({.name = "labels", .help = "and labels"}, &I::labels, AnnotationKeys());
  return table;
}

const OptionTable<ModelResource>& ModelResourceKeys() {
  static const auto table =
      OptionTable<ModelResource>()
          .Text({.name = "name", .help = "holds $model, a short name", .required = true},
                &ModelResource::name)
          .Text({.name = "as", .help = "the resource that it asks as", .required = true},
                &ModelResource::as);
  return table;
}

const OptionTable<FileRow>& FileKeys() {
  static const auto table =
      OptionTable<FileRow>()
          .Text({.name = "vendor", .help = "lower case", .required = true}, &FileRow::vendor)
          .Text({.name = "help", .help = "who it is", .required = true}, &FileRow::help)
          .Custom({.name = "models", .help = "its card models", .type = "list of maps"},
                  [](const std::string& file, const YAML::Node& node, const OptionInfo& option,
                     FileRow* out, Errors* errors) {
                    if (!config::CheckList(file, node, option, errors)) return;
                    for (const YAML::Node& item : node) {
                      ModelRow row;
                      row.at = item;
                      ModelKeys().Parse(file, item, &row, errors);
                      out->models.push_back(std::move(row));
                    }
                  })
          .Maps({.name = "interfaces", .help = "how pods ask for them"}, &FileRow::interfaces,
                InterfaceKeys())
          .Maps({.name = "model_resources", .help = "resource names of one model"},
                &FileRow::model_resources, ModelResourceKeys());
  return table;
}

CardModel ToModel(const ModelRow& row, const std::string& vendor, const std::string& file,
                  Errors* errors) {
  CardModel model{.name = row.name,
                  .vendor = vendor,
                  .help = row.help,
                  .aliases = row.aliases,
                  .short_names = row.short_names,
                  .word = row.word,
                  .memory_mib = row.memory_mib,
                  .capacity_mib = std::max(row.capacity_mib, row.memory_mib),
                  .cores = static_cast<std::int32_t>(row.cores)};
  CardRules& rules = model.rules;
  rules.model = row.name;
  rules.vendor = vendor;
  rules.compute_units = static_cast<std::int32_t>(row.compute_units);
  rules.memory_unit_mib = row.memory_unit_mib;
  rules.memory_sizes = row.memory_sizes;
  rules.compute_parts = static_cast<std::int32_t>(row.compute_parts);
  for (const TemplateRow& t : row.templates) {
    if (t.memory_mib > row.memory_mib) {
      errors->Add(file, row.at,
                  fmt::format("model {}: template {} has {} MiB, more than the card's {}", row.name,
                              t.name.substr(0, 80), t.memory_mib, row.memory_mib));
    }
    rules.templates.push_back({t.name, t.memory_mib, static_cast<MilliGpu>(t.compute_milli)});
    model.template_slots.push_back(static_cast<std::int32_t>(t.slots));
  }
  rules.equal_slices = row.equal_slices;
  rules.several_slices = !row.whole_when_several;
  rules.one_qos = row.one_qos;
  rules.counts = row.counts;
  rules.grouping = row.grouping;
  rules.group_size = static_cast<std::int32_t>(row.group_size);
  rules.mig_slots = static_cast<std::int32_t>(row.mig_slots);
  for (const MigRow& p : row.mig) {
    if (p.memory_mib > row.memory_mib) {
      errors->Add(file, row.at,
                  fmt::format("model {}: MIG profile {} has {} MiB, more than the card's {}",
                              row.name, p.name.substr(0, 80), p.memory_mib, row.memory_mib));
    }
    rules.mig.push_back({.name = p.name,
                         .memory_mib = p.memory_mib,
                         .compute_milli = static_cast<MilliGpu>(p.compute_milli),
                         .size = static_cast<std::int32_t>(p.size),
                         .starts = p.starts,
                         .media = p.media});
  }
  for (const LayoutRow& instance : row.mig_layout) {
    const auto at = std::ranges::find(rules.mig, instance.profile, &MigProfile::name);
    if (at == rules.mig.end()) {
      errors->Add(file, row.at,
                  fmt::format("mig_layout names the unknown profile \"{}\"",
                              instance.profile.substr(0, 80)));
      continue;
    }
    rules.mig_layout.emplace_back(static_cast<std::int32_t>(at - rules.mig.begin()),
                                  static_cast<std::int32_t>(instance.start));
  }
  if (const Status ok = ValidateCardRules(rules, "model " + row.name); !ok) {
    errors->Add(file, row.at, ok.error().ToString());
  }
  return model;
}

void CheckInterface(const Interface& interface, const Vendor& vendor, const std::string& file,
                    const YAML::Node& root, Errors* errors) {
  const auto bad = [&](const std::string& what) {
    errors->Add(file, root, fmt::format("interface {}: {}", interface.name, what));
  };
  if (interface.count.empty() && interface.slots.empty() && interface.mig_prefix.empty()) {
    bad("needs a resource name: count, slots or mig_prefix");
  }
  if (!interface.mode_key.empty() && interface.mode_value.empty()) bad("mode_key needs mode_value");
  for (const auto* forms : {&interface.annotations, &interface.labels}) {
    for (const AnnotationForm& form : *forms) {
      for (const std::string* text : {&form.slice, &form.whole_slice, &form.container, &form.pod}) {
        for (const std::string& name : NamesIn(*text)) {
          if (name == "word" || IsFormName(name)) continue;
          bad(fmt::format("{}: unknown name \"${}\" in a text", form.key, name.substr(0, 80)));
        }
      }
    }
  }
  std::vector<std::string> names;
  for (const CardModel& model : vendor.models) names.push_back(model.name);
  for (const std::string& model : interface.models) {
    if (std::ranges::find(names, model) == names.end()) {
      bad("unknown model " + SuggestText(model, names));
    }
  }
  for (const CardModel& model : vendor.models) {
    if (!Serves(interface, model)) continue;
    if (HasWord(interface) && model.word.empty()) bad("model " + model.name + " needs a word");
    if (interface.cores_per_card == 0 && model.cores == 0) {
      bad("model " + model.name + " needs cores");
    }
  }
}

}  // namespace

Result<Vendor> ParseVendor(const std::string& file, const std::string& text) {
  const auto document = config::ParseYaml(file, text);
  if (!document) return tl::unexpected<Error>(document.error());
  Errors errors;
  FileRow row;
  FileKeys().Parse(file, document->root, &row, &errors);
  Vendor vendor{.name = row.vendor, .help = row.help};
  for (const ModelRow& model : row.models) {
    // What is not whole has been reported already.
    if (model.name.empty() || model.memory_mib == 0) continue;
    if (std::ranges::find(vendor.models, model.name, &CardModel::name) != vendor.models.end()) {
      errors.Add(file, model.at, fmt::format("model \"{}\" stands twice", model.name));
      continue;
    }
    vendor.models.push_back(ToModel(model, row.vendor, file, &errors));
  }
  for (Interface& interface : row.interfaces) {
    interface.vendor = row.vendor;
    interface.name = row.vendor + "/" + interface.name;
    CheckInterface(interface, vendor, file, document->root, &errors);
    vendor.interfaces.push_back(std::move(interface));
  }
  vendor.model_resources = std::move(row.model_resources);
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  return vendor;
}

std::string CatalogKeys() {
  const auto section = [](const std::string& title, const std::vector<OptionInfo>& infos) {
    return "### " + title + "\n\n" + config::ReferenceTable(infos) + "\n";
  };
  return section("A file", FileKeys().infos()) + section("A model", ModelKeys().infos()) +
         section("A template", TemplateKeys().infos()) +
         section("A MIG profile", MigKeys().infos()) +
         section("An instance of a MIG layout", LayoutKeys().infos()) +
         section("An interface", InterfaceKeys().infos()) +
         section("An annotation or label", AnnotationKeys().infos()) +
         section("A resource name of one model", ModelResourceKeys().infos());
}

}  // namespace basalt::devices

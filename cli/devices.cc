// basalt devices: the catalog of card models, what a pod's request becomes on each of them, and
// what cards a node has.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "cli/common.h"
#include "devices/assignment.h"
#include "devices/catalog.h"
#include "devices/node_file.h"
#include "devices/node_resources.h"
#include "devices/pod_file.h"
#include "devices/resources.h"
#include "report/table.h"
#include "scheduler-core/base/suggest.h"

namespace basalt::cli {
namespace {

using devices::CardModel;
using devices::Catalog;
using devices::Vendor;

constexpr std::size_t kMaxDevicesBytes = std::size_t{1} << 20;

Result<Catalog> LoadCatalog(const std::vector<std::string>& files) {
  Catalog catalog = devices::EmbeddedCatalog();
  for (const std::string& file : files) {
    const auto text = ReadFile(file, kMaxDevicesBytes);
    if (!text) return tl::unexpected<Error>(text.error());
    auto vendor = devices::ParseVendor(file, *text);
    if (!vendor) return tl::unexpected<Error>(vendor.error());
    if (Status ok = devices::AddVendor(&catalog, std::move(*vendor), file); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  return catalog;
}

const char* GroupingName(CardGrouping grouping) {
  switch (grouping) {
    case CardGrouping::kNone:
      return "none";
    case CardGrouping::kModules:
      return "modules";
    case CardGrouping::kFullestGroup:
      return "fullest-group";
    case CardGrouping::kSmallestGroup:
      return "smallest-group";
    case CardGrouping::kWings:
      return "wings";
  }
  return "none";
}

// How slices are cut, in a few words.
std::string SlicesText(const CardRules& rules) {
  std::vector<std::string> parts;
  if (!rules.templates.empty()) {
    parts.push_back(fmt::format("{} template{}{}", rules.templates.size(),
                                rules.templates.size() == 1 ? "" : "s",
                                rules.equal_slices ? " (one size a card)" : ""));
  } else {
    if (!rules.memory_sizes.empty()) {
      parts.push_back(fmt::format("{} memory sizes", rules.memory_sizes.size()));
    } else {
      parts.push_back(fmt::format("{} MiB", rules.memory_unit_mib));
    }
    parts.push_back(fmt::format("1/{} compute", rules.compute_parts));
  }
  if (!rules.mig.empty()) parts.push_back(fmt::format("MIG {} profiles", rules.mig.size()));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string CountsText(const CardRules& rules) {
  return rules.counts.empty() ? "any" : fmt::format("{}", fmt::join(rules.counts, ","));
}

Status List(const std::vector<std::string>& files, Format format) {
  const auto catalog = LoadCatalog(files);
  if (!catalog) return tl::unexpected<Error>(catalog.error());
  nlohmann::json list = nlohmann::json::array();
  report::Table table;
  table.header = {"model", "vendor", "MiB", "units", "slices", "cards", "grouping", "what"};
  table.right = {false, false, true, true};
  for (const Vendor& vendor : catalog->vendors) {
    for (const CardModel& model : vendor.models) {
      const CardRules& rules = model.rules;
      table.rows.push_back({model.name, vendor.name, std::to_string(model.memory_mib),
                            rules.compute_units == 0 ? "-" : std::to_string(rules.compute_units),
                            SlicesText(rules), CountsText(rules), GroupingName(rules.grouping),
                            model.help});
      list.push_back({{"model", model.name},
                      {"vendor", vendor.name},
                      {"memory_mib", model.memory_mib},
                      {"compute_units", rules.compute_units},
                      {"aliases", model.aliases},
                      {"help", model.help}});
    }
  }
  format == Format::kJson ? Print(list) : Print(table, format);
  return {};
}

nlohmann::json RulesJson(const CardRules& rules) {
  nlohmann::json templates = nlohmann::json::array();
  for (const SliceTemplate& t : rules.templates) {
    templates.push_back(
        {{"name", t.name}, {"memory_mib", t.memory_mib}, {"compute_milli", t.compute_milli}});
  }
  nlohmann::json mig = nlohmann::json::array();
  for (const MigProfile& p : rules.mig) {
    mig.push_back({{"name", p.name},
                   {"memory_mib", p.memory_mib},
                   {"compute_milli", p.compute_milli},
                   {"size", p.size},
                   {"starts", p.starts},
                   {"media", p.media}});
  }
  return {{"compute_units", rules.compute_units},
          {"memory_unit_mib", rules.memory_unit_mib},
          {"memory_sizes_mib", rules.memory_sizes},
          {"compute_parts", rules.compute_parts},
          {"templates", templates},
          {"equal_slices", rules.equal_slices},
          {"several_slices", rules.several_slices},
          {"one_qos", rules.one_qos},
          {"counts", rules.counts},
          {"grouping", GroupingName(rules.grouping)},
          {"group_size", rules.group_size},
          {"mig_slots", rules.mig_slots},
          {"mig", mig}};
}

// The resource names of the model's interfaces: (interface, what, name).
std::vector<std::vector<std::string>> NameRows(const Vendor& vendor, const CardModel& model) {
  std::vector<std::vector<std::string>> rows;
  for (const devices::Interface& each : vendor.interfaces) {
    if (!devices::Serves(each, model)) continue;
    const devices::Interface i = devices::ForWord(each, model.word);
    const auto add = [&](const char* what, const std::string& name, const std::string& unit) {
      if (!name.empty()) rows.push_back({i.name, what, name, unit});
    };
    const std::string total = i.totals ? ", for all cards together" : "";
    add("cards", i.count, "");
    add("slots", i.slots, "of a template, on one card");
    add("memory", i.memory,
        i.memory_suffix_bytes ? fmt::format("{} MiB, or with a suffix", i.memory_unit_mib)
                              : fmt::format("{} MiB{}", i.memory_unit_mib, total));
    add("memory", i.percent, "percent");
    add("compute", i.cores,
        i.cores_percent
            ? "percent"
            : fmt::format("1/{} of a card{}", i.cores_per_card > 0 ? i.cores_per_card : model.cores,
                          total));
    add("MIG", i.mig_prefix.empty() ? "" : i.mig_prefix + "PROFILE", "instances");
    if (!i.mode_key.empty()) add("annotation", i.mode_key, i.mode_value);
  }
  for (const devices::ModelResource& resource : vendor.model_resources) {
    for (const std::string& name : model.short_names) {
      std::string full = resource.name;
      full.replace(full.find("$model"), 6, name);
      rows.push_back({"model name", "asks as", full, resource.as});
    }
  }
  return rows;
}

Status Show(const std::vector<std::string>& files, const std::string& name, Format format) {
  const auto catalog = LoadCatalog(files);
  if (!catalog) return tl::unexpected<Error>(catalog.error());
  const CardModel* model = devices::FindModel(*catalog, name);
  if (model == nullptr) {
    std::vector<std::string> names;
    for (const Vendor& vendor : catalog->vendors) {
      for (const CardModel& known : vendor.models) names.push_back(known.name);
    }
    return Fail("", "unknown model " + SuggestText(name, names));
  }
  const Vendor& vendor = *devices::FindVendor(*catalog, model->vendor);
  const auto rows = NameRows(vendor, *model);
  const CardRules& rules = model->rules;
  if (format == Format::kJson) {
    nlohmann::json names = nlohmann::json::array();
    for (const auto& row : rows) {
      names.push_back(
          {{"interface", row[0]}, {"what", row[1]}, {"name", row[2]}, {"unit", row[3]}});
    }
    Print(nlohmann::json{{"schema", "basalt.devices.show/1"},
                         {"model", model->name},
                         {"vendor", model->vendor},
                         {"memory_mib", model->memory_mib},
                         {"rules", RulesJson(rules)},
                         {"names", names}});
    return {};
  }
  if (format == Format::kTable) {
    std::printf("%s (%s): %s, %lld MiB, ", model->name.c_str(), model->vendor.c_str(),
                model->help.c_str(), static_cast<long long>(model->memory_mib));
    std::printf("%s\n", rules.compute_units == 0
                            ? "compute not published"
                            : fmt::format("{} TFLOPS dense FP16", rules.compute_units).c_str());
    std::printf("slices: %s; cards of a container: %s; grouping: %s\n\n", SlicesText(rules).c_str(),
                CountsText(rules).c_str(), GroupingName(rules.grouping));
  }
  if (!rules.templates.empty()) {
    report::Table table;
    table.header = {"template", "MiB", "milli"};
    table.right = {false, true, true};
    for (const SliceTemplate& t : rules.templates) {
      table.rows.push_back({t.name, std::to_string(t.memory_mib), std::to_string(t.compute_milli)});
    }
    Print(table, format);
    std::printf("\n");
  }
  if (!rules.mig.empty()) {
    report::Table table;
    table.header = {"MIG profile", "MiB", "milli", "slots", "starts", "most"};
    table.right = {false, true, true, true, false, true};
    for (std::size_t i = 0; i < rules.mig.size(); ++i) {
      const MigProfile& p = rules.mig[i];
      std::vector<int> many;
      while (many.size() < static_cast<std::size_t>(rules.mig_slots)) {
        many.push_back(static_cast<int>(i));
        if (!ArrangeMig(rules, many, 0).empty()) continue;
        many.pop_back();
        break;
      }
      table.rows.push_back({p.name, std::to_string(p.memory_mib), std::to_string(p.compute_milli),
                            std::to_string(p.size), fmt::format("{}", fmt::join(p.starts, ",")),
                            std::to_string(many.size())});
    }
    Print(table, format);
    std::printf("\n");
  }
  report::Table table;
  table.header = {"interface", "what", "name", "unit"};
  table.rows = rows;
  Print(table, format);
  return {};
}

bool Named(const std::vector<std::string>& list, const std::string& name) {
  return std::ranges::find(list, name) != list.end();
}

// What one container's ask becomes on a model.
struct Landing {
  std::string why_not;  // empty: it can land
  CardDemand demand;
  std::string mig;    // on a card in MIG mode
  std::string names;  // "nvidia.com/gpu: 1, ..."
};

Landing LandOn(const Catalog& catalog, const devices::PodRequest& pod, const ContainerSpec& ask,
               const CardModel& model) {
  Landing out;
  const RequestSpec& spec = pod.spec;
  const CardRules& rules = model.rules;
  if (!spec.vendors.empty() && !Named(spec.vendors, model.vendor)) {
    out.why_not = "vendor not allowed";
    return out;
  }
  if ((!spec.models.empty() && !Named(spec.models, model.name)) ||
      Named(spec.nouse_models, model.name)) {
    out.why_not = "model not allowed";
    return out;
  }
  const CardAsk card{.milli = ask.gpu_milli,
                     .memory = static_cast<std::int32_t>(ask.gpu_memory_mib),
                     .percent = ask.gpu_memory_percent,
                     .units = ask.compute_units,
                     .whole = ask.gpu_milli == kWholeCard};
  const int profile = rules.mig.empty() ? -1 : MigProfileFor(card, spec.mig_profile, rules);
  if (profile >= 0) out.mig = rules.mig[static_cast<std::size_t>(profile)].name;
  if (!spec.mig_profile.empty()) {
    if (profile < 0) out.why_not = "no such MIG profile";
    return out;
  }
  const auto memory = static_cast<std::int32_t>(model.memory_mib);
  out.demand = DemandOn(card, &rules, memory, memory, kWholeCard);
  if (!out.demand.possible) {
    out.why_not = card.units > 0 && rules.compute_units == 0 ? "compute not published"
                  : card.units > rules.compute_units         ? "more compute than the card has"
                                                             : "more memory than the card has";
    return out;
  }
  if (ask.gpus > 1 && !rules.several_slices && !out.demand.whole) {
    out.why_not = "several cards are whole ones";
    return out;
  }
  const bool module = rules.grouping == CardGrouping::kModules && ask.gpus < rules.group_size;
  const int count = module ? rules.group_size : ask.gpus;
  if (!rules.counts.empty() && std::ranges::find(rules.counts, count) == rules.counts.end()) {
    out.why_not = "containers may have " + CountsText(rules) + " cards";
    return out;
  }
  devices::PodRequest one = pod;
  one.spec.containers.clear();
  one.slots = {{.name = "c", .init = false, .container = 0}};
  devices::AssignmentInput input{.node = "node"};
  for (int i = 0; i < count; ++i) {
    input.cards.push_back({.uuid = "card", .model = model.name});
    input.slices.push_back({.card = static_cast<std::int8_t>(i),
                            .milli = out.demand.milli,
                            .memory = out.demand.memory,
                            .whole = out.demand.whole});
  }
  const auto assigned = devices::Assign(catalog, one, input);
  if (!assigned) {
    out.why_not = assigned.error().message;
    return out;
  }
  for (const auto& [name, quantity] : assigned->limits.front()) {
    out.names += (out.names.empty() ? "" : ", ") + name + ": " + quantity;
  }
  return out;
}

std::string SliceText(const CardModel& model, const CardDemand& demand) {
  if (demand.whole) return "whole card";
  if (demand.slice_template >= 0) {
    return model.rules.templates[static_cast<std::size_t>(demand.slice_template)].name;
  }
  return "slice";
}

Status Request(const std::vector<std::string>& files, const std::string& file, bool all,
               Format format) {
  const auto catalog = LoadCatalog(files);
  if (!catalog) return tl::unexpected<Error>(catalog.error());
  const auto text = ReadFile(file, kMaxDevicesBytes);
  if (!text) return tl::unexpected<Error>(text.error());
  const auto pod = devices::ReadPodFile(file, *text);
  if (!pod) return tl::unexpected<Error>(pod.error());
  const auto request = devices::ReadRequest(*catalog, *pod);
  if (!request) return Fail(file + ": " + request.error().where, request.error().message);
  const RequestSpec& spec = request->spec;
  // (name, ask) of the containers that have cards.
  std::vector<std::pair<std::string, ContainerSpec>> asks;
  for (const devices::ContainerSlot& slot : request->slots) {
    if (slot.container < 0 || slot.init) continue;
    ContainerSpec ask;
    if (!spec.containers.empty()) {
      ask = spec.containers[static_cast<std::size_t>(slot.container)];
    } else {
      ask.gpus = spec.gpus;
    }
    if (!ask.asks_card()) {
      ask.gpu_milli = spec.gpu_milli;
      ask.gpu_memory_mib = spec.gpu_memory_mib;
      ask.gpu_memory_percent = spec.gpu_memory_percent;
      ask.compute_units = spec.compute_units;
    }
    asks.emplace_back(slot.name, ask);
  }
  nlohmann::json containers = nlohmann::json::array();
  report::Table table;
  table.header = {"container", "model", "vendor", "slice", "milli", "MiB", "MIG", "asks as"};
  table.right = {false, false, false, false, true, true};
  for (const auto& [name, ask] : asks) {
    nlohmann::json models = nlohmann::json::array();
    for (const Vendor& vendor : catalog->vendors) {
      for (const CardModel& model : vendor.models) {
        const Landing landing = LandOn(*catalog, *request, ask, model);
        const bool fits = landing.why_not.empty();
        nlohmann::json row = {{"model", model.name}, {"vendor", vendor.name}, {"fits", fits}};
        if (!fits) {
          row["why_not"] = landing.why_not;
          if (all) {
            table.rows.push_back(
                {name, model.name, vendor.name, "- " + landing.why_not, "", "", landing.mig, ""});
          }
        } else {
          const bool only_mig = !landing.demand.possible;
          row["milli"] = landing.demand.milli;
          row["memory_mib"] = landing.demand.memory;
          row["slice"] = only_mig ? "MIG" : SliceText(model, landing.demand);
          row["mig_profile"] = landing.mig;
          row["asks_as"] = landing.names;
          table.rows.push_back({name, model.name, vendor.name, row["slice"],
                                only_mig ? "" : std::to_string(landing.demand.milli),
                                only_mig ? "" : std::to_string(landing.demand.memory), landing.mig,
                                landing.names});
        }
        models.push_back(std::move(row));
      }
    }
    containers.push_back({{"container", name},
                          {"gpus", ask.gpus},
                          {"gpu_milli", ask.gpu_milli},
                          {"gpu_memory_mib", ask.gpu_memory_mib},
                          {"gpu_memory_percent", ask.gpu_memory_percent},
                          {"compute_units", ask.compute_units},
                          {"models", std::move(models)}});
  }
  if (format == Format::kJson) {
    Print(nlohmann::json{{"schema", "basalt.devices.request/1"},
                         {"pod", pod->name},
                         {"request", Describe(spec)},
                         {"interface", request->interface},
                         {"cpu_milli", spec.cpu_milli},
                         {"memory_mib", spec.memory_mib},
                         {"vendors", spec.vendors},
                         {"models", spec.models},
                         {"nouse_models", spec.nouse_models},
                         {"use_uuids", spec.use_uuids},
                         {"nouse_uuids", spec.nouse_uuids},
                         {"qos", spec.qos},
                         {"mig_profile", spec.mig_profile},
                         {"containers", std::move(containers)}});
    return {};
  }
  if (format == Format::kTable) {
    std::printf(
        "%s: %s%s\n", pod->name.c_str(), Describe(spec).c_str(),
        request->interface.empty() ? "" : fmt::format(" (through {})", request->interface).c_str());
    if (asks.empty()) {
      std::printf("asks for no cards\n");
      return {};
    }
    if (table.rows.empty()) std::printf("no model of the catalog can serve it; see --all\n");
    if (table.rows.empty()) return {};
  }
  Print(table, format);
  return {};
}

const char* ModeName(CardMode mode) {
  switch (mode) {
    case CardMode::kShared:
      return "shared";
    case CardMode::kExclusive:
      return "exclusive";
    case CardMode::kMig:
      return "MIG";
    case CardMode::kPassthrough:
      return "passthrough";
  }
  return "shared";
}

// What the live server makes of a node.
Status Node(const std::vector<std::string>& files, const std::string& file, Format format) {
  const auto catalog = LoadCatalog(files);
  if (!catalog) return tl::unexpected<Error>(catalog.error());
  const auto text = ReadFile(file, kMaxDevicesBytes);
  if (!text) return tl::unexpected<Error>(text.error());
  const auto node = devices::ReadNodeFile(file, *text);
  if (!node) return tl::unexpected<Error>(node.error());
  const auto read = devices::ReadNode(*catalog, *node);
  if (!read) return Fail(file + ": " + read.error().where, read.error().message);
  nlohmann::json cards = nlohmann::json::array();
  report::Table table;
  table.header = {"card",  "model", "MiB",  "of",     "milli",
                  "slots", "NUMA",  "mode", "plugin", "state"};
  table.right = {false, false, true, true, true, true, true};
  for (std::size_t i = 0; i < read->spec.cards.size(); ++i) {
    const CardSpec& card = read->spec.cards[i];
    const MiB memory = card.memory_mib * card.memory_ratio_percent / 100;
    const auto [healthy, cordoned] = read->conditions[i];
    const char* state = !healthy ? "ill" : cordoned ? "cordoned" : "ready";
    cards.push_back({{"uuid", card.uuid},
                     {"model", card.model},
                     {"memory_mib", memory},
                     {"physical_memory_mib", card.memory_mib},
                     {"compute_milli", card.compute_milli},
                     {"slots", card.slots},
                     {"numa", card.numa},
                     {"group", card.group},
                     {"mode", ModeName(card.mode)},
                     {"plugin", read->facts.platforms[i]},
                     {"state", state}});
    table.rows.push_back({card.uuid, card.model, std::to_string(memory),
                          std::to_string(card.memory_mib), std::to_string(card.compute_milli),
                          card.slots == 0 ? "any" : std::to_string(card.slots),
                          card.numa < 0 ? "?" : std::to_string(card.numa), ModeName(card.mode),
                          read->facts.platforms[i], state});
  }
  if (format == Format::kJson) {
    Print(nlohmann::json{{"schema", "basalt.devices.node/1"},
                         {"node", read->spec.name},
                         {"cpu_milli", read->spec.cpu_milli},
                         {"memory_mib", read->spec.memory_mib},
                         {"cordoned", read->cordoned},
                         {"machine", read->spec.machine},
                         {"machine_source", read->machine_source},
                         {"notes", read->notes},
                         {"cards", std::move(cards)}});
    return {};
  }
  if (format == Format::kTable) {
    std::printf("%s: %zu cards%s\n", read->spec.name.c_str(), read->spec.cards.size(),
                read->cordoned ? ", cordoned or not ready" : "");
    if (!read->spec.machine.empty()) {
      std::printf("wired (%s): %s\n", read->machine_source.c_str(), read->spec.machine.c_str());
    }
    for (const std::string& note : read->notes) std::printf("note: %s\n", note.c_str());
    if (table.rows.empty()) return {};
  }
  Print(table, format);
  return {};
}

}  // namespace

void AddDevices(CLI::App* app, Context* context) {
  app->require_subcommand(1);
  struct Options {
    std::vector<std::string> catalog;
    std::string name;
    bool all = false;
    Format format = Format::kTable;
  };
  auto o = std::make_shared<Options>();
  const auto add = [&](const char* name, const char* help) {
    CLI::App* sub = app->add_subcommand(name, help);
    sub->add_option("--catalog", o->catalog, "a vendor's file of your own; may be repeated")
        ->type_name("FILE");
    AddFormat(sub, &o->format);
    return sub;
  };
  const auto report = [context](const Status& ok) {
    if (!ok) context->BadInput(ok.error());
  };
  add("list", "the card models that are known")->callback([o, report] {
    report(List(o->catalog, o->format));
  });
  CLI::App* sub = add("show", "a model's rules, MIG placements and resource names");
  sub->add_option("MODEL", o->name, "name or alias")->required();
  sub->callback([o, report] { report(Show(o->catalog, o->name, o->format)); });
  sub = add("request", "what a pod asks for, and what it becomes on each model");
  sub->add_option("FILE", o->name, "a pod as kubectl writes it, YAML or JSON")->required();
  sub->add_flag("--all", o->all, "also the models that cannot serve it, with the reason");
  sub->callback([o, report] { report(Request(o->catalog, o->name, o->all, o->format)); });
  sub = add("node", "what the live server makes of a node: its cards, how they are wired, notes");
  sub->add_option("FILE", o->name, "a node as kubectl writes it, YAML or JSON")->required();
  sub->callback([o, report] { report(Node(o->catalog, o->name, o->format)); });
}

}  // namespace basalt::cli

// `basalt topo`: what a machine looks like, what its cards get together, and which to take.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "cli/common.h"
#include "devices/node_resources.h"
#include "scheduler-core/base/suggest.h"
#include "topology/bandwidth.h"
#include "topology/files/catalog.h"
#include "topology/files/draw.h"
#include "topology/files/machine_file.h"
#include "topology/published.h"
#include "topology/synthetic.h"

namespace basalt::cli {
namespace {

using topology::CatalogEntry;
using topology::GigaBytes;
using topology::MachineGraph;
using topology::MachineType;

// A catalog name, a file, or a description; with --catalog a file of the catalog's form.
struct MachineInput {
  std::string machine;
  std::string catalog;
};

void AddMachineInput(CLI::App* app, MachineInput* input) {
  app->add_option("machine", input->machine,
                  "name in the catalog (basalt topo list), file (nvidia-smi topo -m, NCCL or hwloc "
                  "XML, vendors' matrices, catalog YAML; - is standard input), or a description: "
                  "\"8xV100 link=...\"")
      ->type_name("MACHINE");
  app->add_option("--catalog", input->catalog, "a machine of your own, in the catalog's form")
      ->type_name("FILE");
}

Result<MachineGraph> FromCatalogFile(const std::string& path) {
  const auto text = ReadFile(path, std::size_t{1} << 20);
  if (!text) return tl::unexpected<Error>(text.error());
  auto entry = topology::ParseCatalogEntry(path, *text);
  if (!entry) return tl::unexpected<Error>(entry.error());
  return std::move(entry->graph);
}

Result<MachineGraph> LoadMachine(const MachineInput& input) {
  const std::string& name = input.machine;
  if (name.empty() == input.catalog.empty()) {
    return Fail("",
                "say which machine: a catalog name, a file or a description, or --catalog FILE");
  }
  if (!input.catalog.empty()) return FromCatalogFile(input.catalog);
  if (name == "-") {
    const auto text = ReadFile("/dev/stdin", topology::kMaxMachineBytes);
    if (!text) return tl::unexpected<Error>(text.error());
    return topology::ReadMachine(*text, "standard input");
  }
  const std::vector<std::string> names = topology::CatalogNames();
  if (std::ranges::find(names, name) != names.end()) return topology::CatalogMachine(name);
  std::error_code error;
  if (std::filesystem::exists(name, error)) {
    if (name.ends_with(".yaml") || name.ends_with(".yml")) return FromCatalogFile(name);
    const auto text = ReadFile(name, topology::kMaxMachineBytes);
    if (!text) return tl::unexpected<Error>(text.error());
    return topology::ReadMachine(*text, name);
  }
  // "8 ..." and "8xV100": descriptions start with a number, and have clauses or a model.
  std::size_t digits = 0;
  while (digits < name.size() && name[digits] >= '0' && name[digits] <= '9') ++digits;
  if (digits > 0 && (digits == name.size() || name[digits] == ' ' || name[digits] == 'x')) {
    auto graph = topology::ParseGraph(name);
    if (!graph) return Fail("description, " + graph.error().where, graph.error().message);
    return graph;
  }
  if (name.find('/') != std::string::npos) return Fail(name, "cannot be read; does it exist?");
  return Fail("", "no file and no catalog machine " + SuggestText(name, names));
}

// "0,2,4-7"
Result<CardSet> ParseCards(const std::string& text, int cards) {
  CardSet set;
  for (const std::string& part : SplitList(text)) {
    int first = 0;
    const char* end = part.data() + part.size();
    auto parsed = std::from_chars(part.data(), end, first);
    int last = first;
    if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == '-') {
      parsed = std::from_chars(parsed.ptr + 1, end, last);
    }
    if (parsed.ec != std::errc() || parsed.ptr != end || first < 0 || last < first ||
        last >= cards) {
      return Fail("--free " + text.substr(0, 80),
                  fmt::format("write cards as 0,2,4-7; this machine has 0 to {}", cards - 1));
    }
    for (int card = first; card <= last; ++card) set.Add(card);
  }
  return set;
}

struct PublishOptions {
  MachineInput input;
  std::string node;
  std::string uuids;
  std::string out;
};

// The UUIDs of the machine's cards in its order: given, else the file's own.
Result<std::vector<std::string>> PublishedUuids(const std::string& given,
                                                const MachineGraph& graph) {
  std::vector<std::string> uuids;
  if (given.empty()) {
    for (const int card : graph.Of(topology::VertexKind::kCard)) {
      uuids.push_back(graph.vertices[static_cast<std::size_t>(card)].uuid);
    }
    // All or none: with some of them it is not told which card is which.
    if (std::ranges::find(uuids, std::string()) != uuids.end()) uuids.clear();
    return uuids;
  }
  std::string list = given;
  std::ranges::replace(list, '\n', ',');  // as nvidia-smi --query-gpu=uuid writes them
  for (std::string& uuid : SplitList(list)) {
    std::erase_if(uuid, [](char c) { return c == ' ' || c == '\r' || c == '\t'; });
    if (!uuid.empty()) uuids.push_back(std::move(uuid));
  }
  if (uuids.empty()) return Fail("--uuids", "has none");
  return uuids;
}

// A JSON merge patch of a Kubernetes node with one annotation, or the command that applies it.
Status Publish(const PublishOptions& o) {
  auto graph = LoadMachine(o.input);
  if (!graph) return tl::unexpected<Error>(graph.error());
  auto uuids = PublishedUuids(o.uuids, *graph);
  if (!uuids) return tl::unexpected<Error>(uuids.error());
  if (topology::FormatGraph(*graph).size() > kMaxMachineText) {
    return Fail("machine", fmt::format("its description has more than the {} bytes that the server "
                                       "takes; write one with fewer details (docs/topology.md)",
                                       kMaxMachineText));
  }
  auto line = topology::FormatPublished({std::move(*graph), std::move(*uuids)});
  if (!line) return tl::unexpected<Error>(line.error());
  const std::string key(devices::kMachineKey);
  std::string text;
  if (o.node.empty()) {
    text = nlohmann::json{{"metadata", {{"annotations", {{key, *line}}}}}}.dump() + "\n";
  } else {
    // The line has no quote in it: vendors' other bytes are written %XX.
    text = fmt::format("kubectl annotate node {} --overwrite '{}={}'\n", o.node, key, *line);
  }
  if (!o.out.empty()) return WriteFile(o.out, text);
  std::fputs(text.c_str(), stdout);
  return {};
}

struct ShowOptions {
  MachineInput input;
  std::string free;
  int cards = 0;
  double min_bandwidth = 0;  // GB/s
  std::string svg;
  Format format = Format::kTable;
};

// A set that may be taken and what it leaves.
struct Choice {
  int size = 0;
  CardSet set;
  std::int32_t mbps = 0;
  std::array<int, 3> intact{};  // of 8, 4 and 2
  int copies = 0;
};
constexpr std::array<int, 3> kIntactSizes = {8, 4, 2};

Choice Describe(const MachineType& type, CardSet free, int size, CardSet set, std::int32_t mbps) {
  Choice choice{.size = size, .set = set};
  if (set.empty()) return choice;
  choice.mbps = type.Bandwidth(set);
  for (std::size_t i = 0; i < kIntactSizes.size(); ++i) {
    choice.intact[i] = type.Intact(kIntactSizes[i], CardSet(free.bits() ^ set.bits()));
  }
  choice.copies = type.Copies(free, size, mbps >= 0 ? mbps : choice.mbps);
  return choice;
}

nlohmann::json Json(CardSet cards) {
  nlohmann::json list = nlohmann::json::array();
  for (const int card : cards) list.push_back(card);
  return list;
}

nlohmann::json Json(const MachineType& type, const Choice& choice) {
  nlohmann::json intact = nlohmann::json::object();
  for (std::size_t i = 0; i < kIntactSizes.size(); ++i) {
    intact[std::to_string(kIntactSizes[i])] = choice.intact[i];
  }
  return {{"size", choice.size},     {"cards", Json(choice.set)},
          {"mbps", choice.mbps},     {"best_mbps", type.Best(choice.size)},
          {"copies", choice.copies}, {"leaves_intact", intact}};
}

std::string Speed(int size, std::int32_t mbps) { return size < 2 ? "-" : GigaBytes(mbps); }

void PrintShow(const ShowOptions& o, const MachineType& type, CardSet free,
               const std::vector<Choice>& choices, bool asked) {
  if (o.format == Format::kJson) {
    nlohmann::json sets = nlohmann::json::array();
    for (const Choice& choice : choices) {
      if (!choice.set.empty()) sets.push_back(Json(type, choice));
    }
    nlohmann::json notes = nlohmann::json::array();
    for (const std::string& warning : type.graph().warnings) notes.push_back(warning);
    return Print(nlohmann::json{{"schema", "basalt.topo/1"},
                                {"machine", type.graph().name},
                                {"description", type.text()},
                                {"cards", type.cards()},
                                {"free", Json(free)},
                                {"sets", sets},
                                {"notes", notes}});
  }
  if (o.format == Format::kTable) {
    const topology::DrawOptions draw{.free = free,
                                     .chosen = asked ? choices.front().set : CardSet()};
    std::printf("%s\n", topology::DrawText(type.graph(), draw).c_str());
  }
  if (asked && choices.front().set.empty()) {
    if (o.format != Format::kTable) return;
    std::printf("no %d free cards%s; %d are free", o.cards,
                o.min_bandwidth > 0 ? fmt::format(" with {:g} GB/s", o.min_bandwidth).c_str() : "",
                free.size());
    if (const CardSet best = type.BestSet(free, o.cards); !best.empty()) {
      std::printf(", the best %d get %s GB/s", o.cards, GigaBytes(type.Bandwidth(best)).c_str());
    }
    std::printf("\n");
    return;
  }
  report::Table table;
  table.header = {"cards", "set", "GB/s", "GB/s idle", "copies", "8s left", "4s left", "2s left"};
  table.right = {true, false, true, true, true, true, true, true};
  for (const Choice& choice : choices) {
    std::vector<std::string> row = {std::to_string(choice.size), topology::CardListText(choice.set),
                                    Speed(choice.size, choice.mbps),
                                    Speed(choice.size, type.Best(choice.size)),
                                    std::to_string(choice.copies)};
    for (const int intact : choice.intact) row.push_back(std::to_string(intact));
    table.rows.push_back(std::move(row));
  }
  Print(table, o.format);
}

Status Show(const ShowOptions& o) {
  auto graph = LoadMachine(o.input);
  if (!graph) return tl::unexpected<Error>(graph.error());
  const auto made = MachineType::Make(std::move(*graph));
  if (!made) return tl::unexpected<Error>(made.error());
  const MachineType& type = **made;
  const int n = type.cards();
  Result<CardSet> free = CardSet(n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1);
  if (!o.free.empty()) free = ParseCards(o.free, n);
  if (!free) return tl::unexpected<Error>(free.error());
  if (o.min_bandwidth > 0 && o.cards == 0) {
    return Fail("--min-bandwidth", "needs --cards: how many cards together?");
  }
  std::vector<Choice> choices;
  const bool asked = o.cards > 0;
  if (asked) {
    const auto mbps = static_cast<std::int32_t>(std::llround(o.min_bandwidth * 1000));
    const CardSet set = o.min_bandwidth > 0 ? type.KeepRemainder(*free, o.cards, mbps)
                                            : type.BestSet(*free, o.cards);
    choices.push_back(Describe(type, *free, o.cards, set, o.min_bandwidth > 0 ? mbps : -1));
  } else {
    for (int size = 2; size <= free->size(); ++size) {
      choices.push_back(Describe(type, *free, size, type.BestSet(*free, size), -1));
    }
  }
  if (!o.svg.empty()) {
    const std::string svg = topology::DrawSvg(
        type.graph(), {.free = *free, .chosen = asked ? choices.front().set : CardSet()});
    if (Status ok = WriteFile(o.svg, svg); !ok) return ok;
  }
  PrintShow(o, type, *free, choices, asked);
  return {};
}

Status List(const std::string& catalog, Format format) {
  std::vector<CatalogEntry> entries;
  for (const std::string& name : topology::CatalogNames()) {
    entries.push_back(*topology::FindCatalogEntry(name));
  }
  if (!catalog.empty()) {
    const auto text = ReadFile(catalog, std::size_t{1} << 20);
    if (!text) return tl::unexpected<Error>(text.error());
    auto entry = topology::ParseCatalogEntry(catalog, *text);
    if (!entry) return tl::unexpected<Error>(entry.error());
    entries.push_back(std::move(*entry));
  }
  nlohmann::json list = nlohmann::json::array();
  report::Table table;
  table.header = {"machine", "cards", "card model", "MiB a card", "GB/s of all", "what"};
  table.right = {false, true, false, true, true};
  for (const CatalogEntry& entry : entries) {
    const auto type = MachineType::Make(entry.graph);
    if (!type) return tl::unexpected<Error>(type.error());
    const int cards = (*type)->cards();
    const std::int32_t mbps = (*type)->Best(cards);
    table.rows.push_back({entry.name, std::to_string(cards), entry.card_model,
                          std::to_string(entry.card_memory_mib), Speed(cards, mbps), entry.help});
    list.push_back({{"machine", entry.name},
                    {"cards", cards},
                    {"card_model", entry.card_model},
                    {"card_memory_mib", entry.card_memory_mib},
                    {"mbps", mbps},
                    {"help", entry.help},
                    {"description", (*type)->text()}});
  }
  if (format == Format::kJson) {
    Print(list);
  } else {
    Print(table, format);
  }
  return {};
}

void Report(Context* context, const Status& ok) {
  if (!ok) context->BadInput(ok.error());
}

}  // namespace

void AddTopo(CLI::App* app, Context* context) {
  app->require_subcommand(1);

  auto show = std::make_shared<ShowOptions>();
  CLI::App* sub = app->add_subcommand("show", "draw a machine; its best sets of cards");
  AddMachineInput(sub, &show->input);
  sub->add_option("--free", show->free, "only these cards are free: 0,2,4-7")->type_name("CARDS");
  sub->add_option("--cards", show->cards, "ask for so many cards")->check(WholeIn(1, 64));
  sub->add_option("--min-bandwidth", show->min_bandwidth,
                  "any set with so many GB/s: the one that leaves the best rest")
      ->check(NumberIn(0.001, 2'000'000.0));
  sub->add_option("--svg", show->svg, "write a drawing")->type_name("FILE");
  AddFormat(sub, &show->format);
  sub->callback([show, context] { Report(context, Show(*show)); });

  struct ListOptions {
    std::string catalog;
    Format format = Format::kTable;
  };
  auto list = std::make_shared<ListOptions>();
  sub = app->add_subcommand("list", "the machines that are known by name");
  sub->add_option("--catalog", list->catalog, "and one of your own, in the catalog's form")
      ->type_name("FILE");
  AddFormat(sub, &list->format);
  sub->callback([list, context] { Report(context, List(list->catalog, list->format)); });

  auto input = std::make_shared<MachineInput>();
  sub = app->add_subcommand("format", "print a machine's description in one line");
  AddMachineInput(sub, input.get());
  sub->callback([input, context] {
    const auto graph = LoadMachine(*input);
    if (!graph) return context->BadInput(graph.error());
    std::printf("%s\n", topology::FormatGraph(*graph).c_str());
  });

  auto publish = std::make_shared<PublishOptions>();
  sub = app->add_subcommand(
      "publish", "run on a node: print the patch that tells the server how its cards are wired");
  AddMachineInput(sub, &publish->input);
  sub->add_option("--uuids", publish->uuids,
                  "the cards' UUIDs in the machine's order, with commas or a line each")
      ->type_name("LIST");
  sub->add_option("--node", publish->node, "print the kubectl command for this node instead")
      ->type_name("NAME")
      ->check(CLI::Validator(
          [](const std::string& name) {
            const bool plain = std::ranges::all_of(name, [](char c) {
              return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
            });
            return plain && !name.empty() && name.front() != '-' ? "" : "is no name of a node";
          },
          ""));
  sub->add_option("--out", publish->out, "write it there")->type_name("FILE");
  sub->callback([publish, context] { Report(context, Publish(*publish)); });

  AddTopoCompare(app, context);
  AddTopoNetwork(app, context);
}

}  // namespace basalt::cli

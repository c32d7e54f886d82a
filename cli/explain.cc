// `basalt explain`: where a request would go on a given state, or what stops it, node by node.
#include <fmt/format.h>

#include <charconv>
#include <set>

#include "cli/states.h"
#include "scheduler-core/base/suggest.h"

namespace basalt::cli {
namespace {

// "gpus=1,milli=460,cpu=6000,memory=12288,models=T4|A10"
Result<RequestSpec> ParseRequest(const std::string& text) {
  static const std::vector<std::string> kKeys = {
      "gpus", "milli", "cpu", "memory", "gpu-memory", "gpu-memory-percent", "models"};
  RequestSpec spec;
  bool milli_given = false;
  std::set<std::string> seen;
  for (const std::string& item : SplitList(text)) {
    const std::size_t equals = item.find('=');
    const std::string key = item.substr(0, equals);
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      return Fail("--request", "unknown part " + SuggestText(key, kKeys));
    }
    if (equals == std::string::npos) {
      return Fail("--request", fmt::format("\"{}\" has no value; write {}=...", key, key));
    }
    if (!seen.insert(key).second) {
      return Fail("--request", fmt::format("\"{}\" stands twice", key));
    }
    const std::string value = item.substr(equals + 1);
    if (key == "models") {
      std::string model;
      for (const char c : value + "|") {
        if (c != '|') {
          model += c;
        } else if (!model.empty()) {
          spec.models.push_back(std::move(model));
          model.clear();
        }
      }
      continue;
    }
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < 0 ||
        number > 2'000'000'000) {
      return Fail("--request", fmt::format("{}=\"{}\" is not a whole number in 0..2,000,000,000",
                                           key, value.substr(0, 80)));
    }
    if (key == "gpus") spec.gpus = static_cast<std::int32_t>(number);
    if (key == "cpu") spec.cpu_milli = number;
    if (key == "memory") spec.memory_mib = number;
    if (key == "gpu-memory") spec.gpu_memory_mib = number;
    if (key == "gpu-memory-percent") spec.gpu_memory_percent = static_cast<std::int32_t>(number);
    if (key == "milli") {
      spec.gpu_milli = static_cast<std::int32_t>(number);
      milli_given = true;
    }
  }
  if (spec.gpus > 0 && !milli_given && spec.gpu_memory_mib == 0 && spec.gpu_memory_percent == 0) {
    spec.gpu_milli = kWholeCard;
  }
  if (Status ok = ValidateRequest(spec, "--request"); !ok) return tl::unexpected<Error>(ok.error());
  return spec;
}

std::string CardList(CardSet cards) {
  std::string text;
  for (const int c : cards) text += (text.empty() ? "" : " ") + std::to_string(c);
  return text.empty() ? "-" : text;
}

void PrintExplanation(const RequestSpec& spec, const Explanation& why, const ClusterState& state,
                      Format format) {
  if (format == Format::kJson) {
    nlohmann::json counts = nlohmann::json::array();
    for (const ReasonCount& c : why.counts) {
      counts.push_back({{"reason", ReasonKey(c.reason)}, {"nodes", c.nodes}, {"text", c.text}});
    }
    nlohmann::json best = nlohmann::json::array();
    for (const Explanation::Candidate& c : why.best) {
      nlohmann::json cards = nlohmann::json::array();
      for (const int card : c.cards) cards.push_back(card);
      best.push_back({{"node", state.name(c.node)}, {"score", c.score}, {"cards", cards}});
    }
    Print(nlohmann::json{{"request", Describe(spec)},
                         {"outcome", OutcomeKindName(why.kind)},
                         {"nodes", why.nodes},
                         {"counts", counts},
                         {"best", best}});
    return;
  }
  if (format == Format::kTable) {
    std::printf("%s: %s\n%s\n", Describe(spec).c_str(),
                std::string(OutcomeKindName(why.kind)).c_str(), why.text.c_str());
    if (why.best.empty()) return;
    std::printf("\n");
  }
  report::Table table;
  if (why.best.empty()) {
    table.header = {"nodes", "reason", "text"};
    for (const ReasonCount& c : why.counts) {
      table.rows.push_back({std::to_string(c.nodes), std::string(ReasonKey(c.reason)), c.text});
    }
  } else {
    table.header = {"place", "node", "model", "score", "cards", "free milli by card"};
    table.right = {true, false, false, true};
    for (std::size_t i = 0; i < why.best.size(); ++i) {
      const NodeId node = why.best[i].node;
      std::string free;
      for (const std::int16_t f : state.CardFree(node)) {
        free += (free.empty() ? "" : " ") + std::to_string(f);
      }
      const std::string model =
          state.hot(node).cards > 0
              ? state.model_name(ModelId(std::uint32_t{state.card(node, 0).model}))
              : "";
      table.rows.push_back({std::to_string(i + 1), state.name(node), model,
                            std::to_string(why.best[i].score), CardList(why.best[i].cards), free});
    }
  }
  Print(table, format);
}

}  // namespace

void AddExplain(CLI::App* app, Context* context) {
  struct Options {
    StateInput state;
    std::string request;
    std::size_t top = 5;
    Format format = Format::kTable;
  };
  auto o = std::make_shared<Options>();
  AddStateInput(app, &o->state, true);
  app->add_option("--request", o->request,
                  "e.g. gpus=1,milli=460,cpu=6000,memory=12288,models=T4|A10 (milli-cores, MiB)")
      ->required();
  app->add_option("--top", o->top, "how many candidates to show")->check(WholeIn(0, 1000));
  AddFormat(app, &o->format);
  app->callback([o, context] {
    const auto spec = ParseRequest(o->request);
    if (!spec) return context->BadInput(spec.error());
    const Status ok = WithEngine(o->state, context->registry, nullptr, [&](Engine& engine) {
      Request request;
      request.uid = PodUidFromName("basalt explain");
      request.shape = *engine.InternShape(*spec);
      PrintExplanation(*spec, engine.Explain(request, o->top), engine.state(), o->format);
    });
    if (!ok) context->BadInput(ok.error());
  });
}

}  // namespace basalt::cli

#include "scheduler-core/engine/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "scheduler-core/base/check.h"
#include "scheduler-core/base/suggest.h"

namespace basalt {
namespace {

// Splits at `separator` outside parentheses.
std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  int depth = 0;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') ++depth;
    if (text[i] == ')') --depth;
    if (text[i] == separator && depth == 0) {
      parts.push_back(text.substr(start, i - start));
      start = i + 1;
    }
  }
  parts.push_back(text.substr(start));
  return parts;
}

// Policies inside policies recurse; nobody needs more than a few, and garbage has thousands.
Status CheckNesting(std::string_view expression) {
  constexpr int kDeepest = 8;
  int depth = 0;
  int deepest = 0;
  for (const char c : expression) {
    depth += c == '(' ? 1 : (c == ')' ? -1 : 0);
    deepest = std::max(deepest, depth);
  }
  if (deepest <= kDeepest) return {};
  return Fail(fmt::format("policy \"{}...\"", expression.substr(0, 40)),
              fmt::format("is nested {} deep; at most {}", deepest, kDeepest));
}

std::string Where(std::string_view expression) {
  return fmt::format("policy \"{}\"", expression.substr(0, 120));
}

}  // namespace

Result<CardRule> ParseCardRule(std::string_view name) {
  std::vector<std::string> names;
  for (int i = 0; i < kCardRules; ++i) {
    const auto rule = static_cast<CardRule>(i);
    if (CardRuleName(rule) == name) return rule;
    names.emplace_back(CardRuleName(rule));
  }
  return Fail("card rule", "unknown card rule " + SuggestText(name, names));
}

void Registry::Add(std::string name, std::string help, Factory factory) {
  const bool added =
      entries_.emplace(std::move(name), Entry{std::move(help), std::move(factory)}).second;
  BASALT_CHECK(added);
}

std::vector<Registry::Listed> Registry::list() const {
  std::vector<Listed> out;
  for (const auto& [name, entry] : entries_) out.push_back(Listed{name, entry.help});
  return out;
}

Result<std::shared_ptr<const PlacementPolicy>> Registry::MakeOne(std::string_view term) const {
  const std::size_t open = term.find('(');
  const std::string_view name = term.substr(0, open);
  std::string_view argument;
  if (open != std::string_view::npos) {
    if (term.back() != ')') return Fail(Where(term), "the parenthesis is not closed at the end");
    argument = term.substr(open + 1, term.size() - open - 2);
    if (argument.empty()) return Fail(Where(term), "has nothing between its parentheses");
  }
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, entry] : entries_) names.push_back(known);
    return Fail("", "unknown policy " + SuggestText(name, names));
  }
  return it->second.factory(*this, argument);
}

Result<std::shared_ptr<const PlacementPolicy>> Registry::Make(std::string_view expression) const {
  if (Status ok = CheckNesting(expression); !ok) return tl::unexpected<Error>(ok.error());
  const auto terms = Split(expression, '+');
  if (terms.size() == 1 && Split(terms[0], ':').size() == 1) return MakeOne(terms[0]);
  Weighted components;
  for (const std::string_view term : terms) {
    const auto parts = Split(term, ':');
    double weight = 1;
    if (parts.size() > 2) return Fail(Where(expression), "a term is NAME or NAME:WEIGHT");
    if (parts.size() == 2) {
      const auto [end, error] =
          std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), weight);
      if (error != std::errc() || end != parts[1].data() + parts[1].size() || !(weight > 0) ||
          weight > 1000) {
        return Fail(Where(expression), fmt::format("weight \"{}\" is not a number in (0, 1000]",
                                                   parts[1].substr(0, 80)));
      }
    }
    auto component = MakeOne(parts[0]);
    if (!component) return component;
    components.emplace_back(*component, weight);
  }
  if (!blend_) return Fail(Where(expression), "blends are not available here");
  return blend_(std::move(components));
}

Result<ConfiguredPolicy> Registry::Configure(std::string_view expression) const {
  const auto parts = Split(expression, '/');
  if (parts.size() > 2) return Fail(Where(expression), "more than one card rule; write NODE/CARD");
  auto policy = Make(parts[0]);
  if (!policy) return tl::unexpected<Error>(policy.error());
  ConfiguredPolicy out{std::string(expression), *policy, (*policy)->traits().default_card_rule};
  if (parts.size() == 2) {
    const Result<CardRule> rule = ParseCardRule(parts[1]);
    if (!rule) return tl::unexpected<Error>(rule.error());
    out.card_rule = *rule;
  }
  return out;
}

}  // namespace basalt

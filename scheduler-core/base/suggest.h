// "did you mean": the known name nearest to a mistyped one, by edit distance.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace basalt {

inline std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// Empty when nothing is near enough to be a slip of the hand. Containing the word counts as near:
// "pack" suggests "binpack".
template <class Names>
std::string NearestName(std::string_view word, const Names& names) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  if (word.size() > 256) return best;
  for (const auto& name : names) {
    const std::string_view candidate(name);
    std::size_t distance = EditDistance(word, candidate);
    if (word.size() >= 3 && candidate.find(word) != std::string_view::npos) {
      distance = std::min<std::size_t>(distance, 1);
    }
    if (distance < best_distance) {
      best_distance = distance;
      best = std::string(candidate);
    }
  }
  return best;
}

// ` "pack"; did you mean "binpack"?` as the end of a message, or what is known.
template <class Names>
std::string SuggestText(std::string_view word, const Names& names) {
  const std::string near = NearestName(word, names);
  std::string text = "\"" + std::string(word.substr(0, 80)) + "\"";
  if (!near.empty()) return text + "; did you mean \"" + near + "\"?";
  text += "; known: ";
  bool first = true;
  for (const auto& name : names) {
    if (!first) text += ", ";
    text += name;
    first = false;
  }
  return text;
}

}  // namespace basalt

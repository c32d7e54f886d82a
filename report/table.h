// A table of text cells, printed for people or for programs: the one place that knows the output
// formats table, csv and markdown (JSON is made from values, not from cells).
#pragma once

#include <string>
#include <vector>

namespace basalt::report {

struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> right;  // by column: numbers are aligned right; missing: left
};

std::string RenderTable(const Table& table);     // aligned columns
std::string RenderCsv(const Table& table);       // RFC 4180, LF
std::string RenderMarkdown(const Table& table);  // a pipe table

// A number with so many digits, or "n/a" for NaN.
std::string Fixed(double value, int digits);

}  // namespace basalt::report

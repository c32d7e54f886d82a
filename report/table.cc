#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace basalt::report {
namespace {

// Columns on a terminal: UTF-8 continuation bytes take no place.
std::size_t Width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string CsvCell(const std::string& cell) {
  if (cell.find_first_of(",\"\n\r") == std::string::npos) return cell;
  std::string out = "\"";
  for (const char c : cell) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::string Fixed(double value, int digits) {
  return std::isnan(value) ? "n/a" : fmt::format("{:.{}f}", value, digits);
}

std::string RenderTable(const Table& table) {
  std::vector<std::size_t> widths;
  for (const std::string& cell : table.header) widths.push_back(Width(cell));
  for (const auto& row : table.rows) {
    for (std::size_t c = 0; c < row.size() && c < widths.size(); ++c) {
      widths[c] = std::max(widths[c], Width(row[c]));
    }
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& row) {
    std::string text;
    for (std::size_t c = 0; c < row.size() && c < widths.size(); ++c) {
      const std::string pad(widths[c] - std::min(widths[c], Width(row[c])), ' ');
      const bool right = c < table.right.size() && table.right[c];
      text += (c == 0 ? "" : "  ") + (right ? pad + row[c] : row[c] + pad);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  line(table.header);
  for (const auto& row : table.rows) line(row);
  return out;
}

std::string RenderCsv(const Table& table) {
  std::string out;
  const auto line = [&](const std::vector<std::string>& row) {
    for (std::size_t c = 0; c < row.size(); ++c) out += (c == 0 ? "" : ",") + CsvCell(row[c]);
    out += "\n";
  };
  line(table.header);
  for (const auto& row : table.rows) line(row);
  return out;
}

std::string RenderMarkdown(const Table& table) {
  std::string out;
  const auto line = [&](const std::vector<std::string>& row) {
    out += "|";
    for (const std::string& cell : row) {
      out += " ";
      for (const char c : cell) {
        if (c == '|') out += '\\';
        out += c == '\n' ? ' ' : c;
      }
      out += " |";
    }
    out += "\n";
  };
  line(table.header);
  out += "|";
  for (std::size_t c = 0; c < table.header.size(); ++c) {
    out += c < table.right.size() && table.right[c] ? "---:|" : "---|";
  }
  out += "\n";
  for (const auto& row : table.rows) line(row);
  return out;
}

}  // namespace basalt::report

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes Markdown, CSV (RFC 4180), one JSON object, or an object a line.
#include "Output.h"

#include "Failure.h"

using namespace mohdrt;
using mohdtool::writeStdout;

namespace mohdbench {
namespace {

std::string markdownLine(const std::vector<std::string> &cells) {
  std::string line = "|";
  for (const std::string &cell : cells)
    line += " " + cell + " |";
  return line + "\n";
}

std::string csvLine(const std::vector<std::string> &cells) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    std::string quoted;
    for (char c : cells[i])
      quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    bool plain = cells[i].find_first_of(",\"\n\r") == std::string::npos;
    line += (i ? "," : "") + (plain ? cells[i] : "\"" + quoted + "\"");
  }
  return line + "\n";
}

} // namespace

void Output::begin() {
  if (begun_)
    return;
  begun_ = true;
  if (format_ == Format::Markdown) {
    std::vector<std::string> titles = columnTitles(false);
    std::string line = markdownLine(titles) + "|";
    for (size_t i = 0; i < titles.size(); ++i)
      line += i < 3 ? "---|" : "--:|";
    writeStdout(line + "\n");
  } else if (format_ == Format::Csv) {
    writeStdout(csvLine(columnTitles(true)));
  } else if (format_ == Format::Json) {
    std::string text = writeCompactJson(about_);
    text.pop_back(); // the brace; rows follow
    writeStdout(text + ",\"rows\":[");
  }
}

void Output::add(const Row &row) {
  begin();
  switch (format_) {
  case Format::Markdown:
    return writeStdout(markdownLine(cells(row, false)));
  case Format::Csv:
    return writeStdout(csvLine(cells(row, true)));
  case Format::Json:
    writeStdout((first_ ? "\n" : ",\n") + writeCompactJson(toJson(row)));
    first_ = false;
    return;
  case Format::JsonLines:
    JsonValue line = toJson(row);
    line.set("run", about_);
    return writeStdout(writeCompactJson(line) + "\n");
  }
}

void Output::finish() {
  begin();
  if (format_ == Format::Json)
    writeStdout("\n]}\n");
}

} // namespace mohdbench

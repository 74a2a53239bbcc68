#include "worker/model/chat_template/jinja_statements.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace rotulus::worker::chat_template {
namespace {

using Kind = Statement::Kind;

struct Token {
  enum class Kind { string, name, sign } kind;
  std::string text;
};

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// The string literal at the start of `code`, unescaped and removed from it.
std::optional<std::string> take_string(std::string_view& code) {
  const char quote = code[0];
  std::string text;
  for (std::size_t i = 1; i < code.size(); ++i) {
    if (code[i] == quote) {
      code.remove_prefix(i + 1);
      return text;
    }
    if (code[i] != '\\') {
      text += code[i];
      continue;
    }
    if (++i == code.size()) break;
    switch (code[i]) {
      case 'n':
        text += '\n';
        break;
      case 't':
        text += '\t';
        break;
      case '\\':
      case '\'':
      case '"':
        text += code[i];
        break;
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<std::vector<Token>> tokenize(std::string_view code) {
  std::vector<Token> tokens;
  while (!code.empty()) {
    if (is_space(code[0])) {
      code.remove_prefix(1);
    } else if (code[0] == '\'' || code[0] == '"') {
      auto text = take_string(code);
      if (!text) return std::nullopt;
      tokens.push_back({Token::Kind::string, std::move(*text)});
    } else if (is_word(code[0])) {
      const auto end = static_cast<std::size_t>(std::find_if_not(code.begin(), code.end(), is_word) - code.begin());
      tokens.push_back({Token::Kind::name, std::string(code.substr(0, end))});
      code.remove_prefix(end);
    } else {
      tokens.push_back({Token::Kind::sign, std::string(code.substr(0, 1))});
      code.remove_prefix(1);
    }
  }
  // x['field'] is x.field
  for (std::size_t i = 0; i + 2 < tokens.size(); ++i) {
    if (tokens[i].kind == Token::Kind::sign && tokens[i].text == "[" && tokens[i + 1].kind == Token::Kind::string &&
        tokens[i + 2].text == "]") {
      tokens[i].text = ".";
      tokens[i + 1].kind = Token::Kind::name;
      tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i) + 2);
    }
  }
  return tokens;
}

std::string to_text(const std::vector<Token>& tokens) {
  std::string text;
  bool after_name = false;
  for (const Token& token : tokens) {
    const bool is_name = token.kind == Token::Kind::name;
    if (is_name && after_name) text += ' ';
    text += token.kind == Token::Kind::string ? '\'' + token.text + '\'' : token.text;
    after_name = is_name;
  }
  return text;
}

class Reader {
 public:
  explicit Reader(std::string_view jinja) : rest_(jinja) {}

  std::optional<std::vector<Statement>> read() {
    if (rest_.ends_with('\n')) rest_.remove_suffix(1);  // as the renderers do
    TagEnd before{.begins_line = true};
    while (true) {
      const std::size_t open = std::min({rest_.find("{%"), rest_.find("{{"), rest_.find("{#"), rest_.size()});
      const std::string_view text = rest_.substr(0, open);
      rest_.remove_prefix(open);
      print(trimmed(text, before, rest_));
      if (rest_.empty()) return std::move(statements_);

      const char kind = rest_[1];
      auto code = take_tag(kind == '%' ? "%}" : kind == '{' ? "}}" : "#}");
      if (!code) return std::nullopt;
      before = {.strips = code->ends_with('-'), .is_block = kind != '{'};
      if (before.strips) code->remove_suffix(1);
      if (kind == '#') continue;
      const auto tokens = tokenize(*code);
      if (!tokens) return std::nullopt;
      if (kind == '%') {
        statements_.push_back({Kind::control, to_text(*tokens)});
      } else if (!add_values(*tokens)) {
        return std::nullopt;
      }
    }
  }

 private:
  // Removes the tag that stands first in the text that is left and returns what is between its braces; `close` inside a
  // string does not end it.
  std::optional<std::string_view> take_tag(std::string_view close) {
    const std::size_t begin = rest_.substr(2, 1) == "-" ? 3 : 2;
    char quote = 0;
    for (std::size_t i = begin; i < rest_.size(); ++i) {
      if (quote != 0) {
        if (rest_[i] == '\\')
          ++i;
        else if (rest_[i] == quote)
          quote = 0;
      } else if (rest_.substr(i).starts_with(close)) {
        const std::string_view code = rest_.substr(begin, i - begin);
        rest_.remove_prefix(i + close.size());
        return code;
      } else if (close != "#}" && (rest_[i] == '\'' || rest_[i] == '"')) {
        quote = rest_[i];
      }
    }
    return std::nullopt;
  }

  struct TagEnd {
    bool strips = false;       // -%} or -}}
    bool is_block = false;     // {% %} or {# #}
    bool begins_line = false;  // no tag: the start of the template
  };

  // The text between two tags, without what their marks, trim_blocks and lstrip_blocks take from it.
  static std::string_view trimmed(std::string_view text, TagEnd before, std::string_view tag) {
    if (before.strips) {
      while (!text.empty() && is_space(text.front())) {
        before.begins_line = text.front() == '\n';
        text.remove_prefix(1);
      }
    } else if (before.is_block && text.starts_with('\n')) {
      before.begins_line = true;
      text.remove_prefix(1);
    }
    const bool is_block = tag.starts_with("{%") || tag.starts_with("{#");
    if (tag.substr(0, 3).ends_with('-')) {
      while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    } else if (is_block) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      const bool is_whole_line = line > 0 || before.begins_line;
      if (is_whole_line && std::all_of(text.begin() + static_cast<std::ptrdiff_t>(line), text.end(), is_space))
        text = text.substr(0, line);
    }
    return text;
  }

  void print(std::string_view text) {
    if (text.empty()) return;
    if (!statements_.empty() && statements_.back().kind == Kind::literal)
      statements_.back().text += text;
    else
      statements_.push_back({Kind::literal, std::string(text)});
  }

  // Terms joined by + (or ~): strings are printed, names are values.
  bool add_values(const std::vector<Token>& tokens) {
    std::vector<Token> term;
    const auto end_term = [&] {
      if (term.empty()) return false;
      if (term.size() == 1 && term[0].kind == Token::Kind::string) {
        print(term[0].text);
      } else {
        for (const Token& token : term)
          if (token.kind != Token::Kind::name && token.text != ".") return false;
        statements_.push_back({Kind::value, to_text(term)});
      }
      term.clear();
      return true;
    };
    for (const Token& token : tokens) {
      if (token.kind == Token::Kind::sign && (token.text == "+" || token.text == "~")) {
        if (!end_term()) return false;
      } else {
        term.push_back(token);
      }
    }
    return end_term();
  }

  std::string_view rest_;
  std::vector<Statement> statements_;
};

}  // namespace

std::optional<std::vector<Statement>> read_jinja(std::string_view jinja) {
  return Reader(jinja).read();
}

}  // namespace rotulus::worker::chat_template

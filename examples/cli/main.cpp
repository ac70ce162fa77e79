// SPDX-License-Identifier: Apache-2.0
/// The `tightkv` command: KV-cache compression on dumps, models and saved states.
#include <cstdio>
#include <iostream>
#include <new>
#include <string>

#include <tightkv/core/error.hpp>
#include <tightkv/version.hpp>

#include "commands.hpp"

namespace {

constexpr int bad_input = 2;
constexpr int should_not_happen = 1;

/// One line, whatever the message holds.
void complain(std::string const& command, std::string message) {
  constexpr std::string_view library = "tightkv::";
  if (message.starts_with(library)) message.erase(0, library.size());
  auto const who = command.substr(command.rfind(' ') + 1) + ": ";  // it is said already
  if (message.starts_with(who)) message.erase(0, who.size());
  for (char& c : message) c = c == '\n' || c == '\r' ? ' ' : c;
  std::cerr << command << ": " << message << '\n';
}

std::string version() {
  return std::to_string(TIGHTKV_VERSION_MAJOR) + '.' + std::to_string(TIGHTKV_VERSION_MINOR) + '.' +
         std::to_string(TIGHTKV_VERSION_PATCH);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"KV-cache compression: any method, on your own cache, model and text.", "tightkv"};
  app.set_version_flag("--version", "tightkv " + version());
  app.require_subcommand(1);
  tightkv::cli::add_methods(app);
  tightkv::cli::add_inspect(app);
  tightkv::cli::add_compress(app);
  tightkv::cli::add_run(app);
  tightkv::cli::add_shrink(app);
  tightkv::cli::add_merge_heads(app);

  // Known before parsing, so that a mistake on the command line names the command it was made in.
  std::string command = "tightkv";
  auto const is_named = [&](CLI::App* sub) { return argc > 1 && sub->get_name() == argv[1]; };
  if (!app.get_subcommands(is_named).empty()) command += ' ' + std::string(argv[1]);

  try {
    app.parse(argc, argv);
    std::cout.flush();
    if (!std::cout) {
      complain(command, "standard output cannot be written");
      return bad_input;
    }
    return 0;
  } catch (CLI::Success const& asked) {  // --help, --version
    return app.exit(asked);
  } catch (CLI::ParseError const& error) {
    std::string message = error.what();
    if (command == "tightkv" && argc > 1) message.append(" (got ").append(argv[1]).append(")");
    complain(command, message);
    return bad_input;
  } catch (tightkv::bad_argument const& error) {
    complain(command, error.what());
    return bad_input;
  } catch (std::bad_alloc const&) {
    complain(command, "out of memory");
    return should_not_happen;
  } catch (std::exception const& error) {
    complain(command, error.what());
    return should_not_happen;
  }
}

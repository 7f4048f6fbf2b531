// The templates of deploy/ as stacks of the AWS CDK, unchanged: `cdk synth` writes what the files
// say. Parameters are given to `cdk deploy`, because CfnInclude would take those that it is given
// out of the template.
const path = require("node:path");
const { App, DefaultStackSynthesizer, Stack } = require("aws-cdk-lib");
const { CfnInclude } = require("aws-cdk-lib/cloudformation-include");

const app = new App();
const templates = { "tagwarden-access": "access", tagwarden: "tagwarden", "tagwarden-pipeline": "pipeline" };

for (const [name, template] of Object.entries(templates)) {
  const stack = new Stack(app, name, {
    // It would add a rule and a parameter. `cdk bootstrap` is still needed, for the bucket that the
    // long template goes through.
    synthesizer: new DefaultStackSynthesizer({ generateBootstrapVersionRule: false }),
  });
  new CfnInclude(stack, "Template", {
    templateFile: path.join(__dirname, "../../deploy", `${template}.yaml`),
  });
}

// Asks a model server with @grpc/grpc-js, and prints what came back as JSON.
// node client.js SERVICES TARGET [CA [KEY CERTIFICATE]]: SERVICES is a file with a FileDescriptorSet, the others are PEM files.
'use strict';

const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const [services, target, ca, key, certificate] = process.argv.slice(2);
const loaded = protoLoader.loadFileDescriptorSetFromBuffer(fs.readFileSync(services), {
  keepCase: true,
  longs: String,
  enums: String,
});
const api = grpc.loadPackageDefinition(loaded);
const read = (file) => (file ? fs.readFileSync(file) : null);
const credentials = ca
  ? grpc.credentials.createSsl(read(ca), read(key), read(certificate))
  : grpc.credentials.createInsecure();
const options = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.ssl_target_name_override': 'localhost',
  'grpc.default_authority': 'localhost',
};

const call = (stub, method, request, deadlineMs = 20000) =>
  new Promise((resolve) => {
    stub[method](request, { deadline: Date.now() + deadlineMs }, (error, response) =>
      resolve(error ? { code: error.code, details: error.details } : response),
    );
  });

const first = (stream) =>
  new Promise((resolve, reject) => {
    stream.once('data', (message) => {
      resolve(message);
      stream.cancel();
    });
    stream.on('error', (error) => error.code === grpc.status.CANCELLED || reject(error));
  });

// A map read from descriptors is to this loader what it is on the wire: a list of keys and values.
const predict = (key, tensor, size, spec) => ({
  model_spec: { name: 'echo', ...spec },
  inputs: [{ key, value: { tensor_shape: { dim: [{ size }] }, ...tensor } }],
});
const floats = (values, spec) => predict('x', { dtype: 'DT_FLOAT', float_val: values }, values.length, spec);
const output = (response) => response.outputs[0].value;

async function main() {
  const { PredictionService, ModelService } = api.tensorflow.serving;
  const prediction = new PredictionService(target, credentials, options);
  const packed = new PredictionService(target, credentials, { ...options, 'grpc.default_compression_algorithm': 2 });
  const models = new ModelService(target, credentials, options);
  const health = new api.grpc.health.v1.Health(target, credentials, options);
  const reflection = new api.grpc.reflection.v1.ServerReflection(target, credentials, options);

  const strings = { dtype: 'DT_STRING', string_val: [Buffer.from('gr\u00fc\u00df')] };
  const text = predict('text', strings, 1, { signature_name: 'text' });
  const large = new Array(3000000).fill(0.5);
  const questions = reflection.ServerReflectionInfo({ deadline: Date.now() + 20000 });
  questions.write({ list_services: '' });
  const answers = {
    predict: output(await call(prediction, 'Predict', floats([1.5, 2.5]))).float_val,
    gzip: output(await call(packed, 'Predict', floats([3.5]))).float_val,
    large: output(await call(prediction, 'Predict', floats(large))).float_val.length,
    text: output(await call(prediction, 'Predict', text)).string_val[0].toString(),
    unknown: await call(prediction, 'Predict', floats([1], { name: 'nope' })),
    late: await call(prediction, 'Predict', floats([1], { name: 'slow' }), 300),
    status: (await call(models, 'GetModelStatus', { model_spec: { name: 'echo' } })).model_version_status,
    check: await call(health, 'Check', { service: 'PredictionService' }),
    watch: await first(health.Watch({ service: '' })),
    services: (await first(questions)).list_services_response.service.map((service) => service.name),
  };
  console.log(JSON.stringify(answers));
  [prediction, packed, models, health, reflection].forEach((stub) => stub.close());
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

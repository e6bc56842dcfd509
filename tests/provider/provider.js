// A certified OpenID provider for the tests: client credentials, JWT access tokens and, for the resource `urn:opaque`,
// opaque ones, introspection (signed for who accepts that), revocation, discovery, and keys that rotate on demand.
//
// Prints its issuer once it listens. POST /rotate makes a new key that signs from then on; the two before stay
// published, as tokens made with them are still out there: a client may be about to send the last token but one in the
// very moment in which the next key is made. Ends with its standard input.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

// the standard output is for the issuer alone, and closed after it
console.info = console.error;

const audience = 'vehicle-api';

function key() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };
}

function provider(issuer, keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: [{
      client_id: 'tests',
      client_secret: 'of the tests alone',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      scope: 'read:vehicle',
    }, {
      // a gateway that asks about tokens
      client_id: 'gateway',
      client_secret: 'of the gateway & alone',
      introspection_signed_response_alg: 'RS256',
      grant_types: [],
      redirect_uris: [],
      response_types: [],
    }],
    scopes: ['read:vehicle'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:vehicles',
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({
          scope: 'read:vehicle',
          audience,
          accessTokenTTL: 300,
          ...(resource === 'urn:opaque'
            ? { accessTokenFormat: 'opaque' }
            : { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }),
        }),
      },
    },
  }).callback();
}

let keys = [key()];
let answer;
const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/rotate') {
    keys = [key(), ...keys.slice(0, 2)];
    answer = provider(issuer, keys);
    response.end(keys[0].kid);
  } else {
    answer(request, response);
  }
});
let issuer;
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  answer = provider(issuer, keys);
  console.log(issuer);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit());

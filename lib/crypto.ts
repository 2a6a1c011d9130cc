export { CryptoService, createCryptoService } from './compat/crypto.js';

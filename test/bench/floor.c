/*
 * What encode and decode are measured against: AES-256-GCM once a row, and nothing else.
 *
 * One EVP_CIPHER_CTX a direction for the whole session, its key set once; a row costs one nonce
 * (12 bytes out of a block drawn from the system's generator), one encryption and one tag. No key
 * tag, no context, no versions, no errors worth reading: a value is nonce | ciphertext | tag(16).
 * And below that floor, a function that only reads.
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "fmgr.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#define NONCE_BYTES 12
#define TAG_BYTES 16

PG_MODULE_MAGIC;

static const unsigned char key[32] = "a key that only a benchmark uses";
static unsigned char nonces[4096 * NONCE_BYTES];
static size_t nonces_used = sizeof(nonces);

static void require(int done) {
    if (done != 1)
        elog(ERROR, "AES-256-GCM failed");
}

static EVP_CIPHER_CTX* new_context(int encrypting) {
    EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();

    require(context != NULL);
    require(EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, key, NULL, encrypting));
    return context;
}

static const unsigned char* next_nonce(void) {
    if (nonces_used == sizeof(nonces)) {
        require(RAND_bytes(nonces, sizeof(nonces)));
        nonces_used = 0;
    }
    nonces_used += NONCE_BYTES;
    return nonces + nonces_used - NONCE_BYTES;
}

PG_FUNCTION_INFO_V1(floor_read);
Datum floor_read(PG_FUNCTION_ARGS) {
    PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_PP(0));
}

PG_FUNCTION_INFO_V1(floor_encrypt);
Datum floor_encrypt(PG_FUNCTION_ARGS) {
    static EVP_CIPHER_CTX* context = NULL;
    bytea* data = PG_GETARG_BYTEA_PP(0);
    int length = (int)VARSIZE_ANY_EXHDR(data);
    int written;
    bytea* sealed = palloc(VARHDRSZ + NONCE_BYTES + length + TAG_BYTES);
    unsigned char* out = (unsigned char*)VARDATA(sealed);

    if (context == NULL)
        context = new_context(1);
    SET_VARSIZE(sealed, VARHDRSZ + NONCE_BYTES + length + TAG_BYTES);
    memcpy(out, next_nonce(), NONCE_BYTES);
    require(EVP_EncryptInit_ex(context, NULL, NULL, NULL, out));
    require(EVP_EncryptUpdate(context, out + NONCE_BYTES, &written,
                              (unsigned char*)VARDATA_ANY(data), length));
    require(EVP_EncryptFinal_ex(context, out + NONCE_BYTES + written, &written));
    require(
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, out + NONCE_BYTES + length));
    PG_RETURN_BYTEA_P(sealed);
}

PG_FUNCTION_INFO_V1(floor_decrypt);
Datum floor_decrypt(PG_FUNCTION_ARGS) {
    static EVP_CIPHER_CTX* context = NULL;
    bytea* sealed = PG_GETARG_BYTEA_PP(0);
    unsigned char* in = (unsigned char*)VARDATA_ANY(sealed);
    int length = (int)VARSIZE_ANY_EXHDR(sealed) - NONCE_BYTES - TAG_BYTES;
    int written;
    bytea* data;

    if (length < 0)
        elog(ERROR, "too short");
    if (context == NULL)
        context = new_context(0);
    data = palloc(VARHDRSZ + length);
    SET_VARSIZE(data, VARHDRSZ + length);
    require(EVP_DecryptInit_ex(context, NULL, NULL, NULL, in));
    require(EVP_DecryptUpdate(context, (unsigned char*)VARDATA(data), &written, in + NONCE_BYTES,
                              length));
    require(
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, in + NONCE_BYTES + length));
    require(EVP_DecryptFinal_ex(context, (unsigned char*)VARDATA(data) + written, &written));
    PG_RETURN_BYTEA_P(data);
}
